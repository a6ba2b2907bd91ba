"""One script per claim: it measures, prints its figures, writes JSON and draws a plot."""

"""What a collection is asked to do: one frozen record made of small ones.

The command line is derived from these classes: a field's name is its option, its docstring the
help, its default the default. What the words in it mean is written where they are read, in
``endpoints``, ``keys`` and ``prices``. Nothing here holds a key.
"""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """API keys: never given here themselves, never written or shown. Without one, none is sent."""

    key_env: tuple[str, ...] = ()
    """[ENDPOINT=]VARIABLE: the environment variable that holds an endpoint's key."""
    key_file: tuple[str, ...] = ()
    """[ENDPOINT=]PATH: the file that holds an endpoint's key, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingOptions:
    """How models and judge are asked. What is changed here is asked anew."""

    system: str | None = None
    """System message for the models; the judge gets none."""
    temperature: float | None = None
    """Temperature of the answers; the endpoint's own if not given."""
    answer_tokens: int = 1024
    """Longest answer, in tokens, thoughts included."""
    judge_prompt: Path | None = None
    """File with a prompt for the judge, with {prompt}, {answer_a}, {answer_b} in it and, where
    wanted, {mark}: a mark that no answer contains. It must lead to a reply that ends in JSON with a
    "verdict" of A, B or T."""
    judge_temperature: float | None = 0.0
    """Temperature of the verdicts; left out where a judge takes none."""
    verdict_tokens: int = 1024
    """Longest verdict, in tokens, thoughts included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """What may be spent, and how hard endpoints are pressed."""

    prices: tuple[str, ...] = ()
    """MODEL=INPUT/OUTPUT: price per million tokens, of models and judge, in any currency."""
    max_cost: float | None = None
    """The most that OUT may cost in all, by these prices; every model needs one then."""
    max_tokens: int | None = None
    """The most tokens that OUT may take in all, in and out together."""
    concurrency: tuple[str, ...] = ("8",)
    """[ENDPOINT=]N: calls at once, to each endpoint or to that one."""
    timeout: float = 300.0
    """Seconds that an attempt may take."""
    retries: int = 6
    """How often a call is made again after a timeout, a broken connection, 429 or 5xx. Waits grow
    from 1 s to 60 s, or are as long as the endpoint asks."""
    deadline: float | None = None
    """Seconds after which no call is begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectConfig:
    """Collect votes: let models answer prompts, and a judge compare the answers, in both orders.

    Asks endpoints that speak OpenAI's chat completions. OUT gets ledger.jsonl (every answer and
    verdict as it comes) and votes.jsonl (LMArena's columns). Ctrl-C, a crash or a full budget lose
    nothing: the same command goes on where it stopped, and asks nothing twice. More prompts, models
    or pairs later ask for what is new.

    What would it cost? Nothing is sent, no key is needed:

      triskele evaluate collect --prompts prompts.txt --models small large --judge large
      --endpoints http://127.0.0.1:8000/v1 --prices small=0.1/0.4 large=2/8 --dry-run

    Two models of our own server, judged by another one's, for at most 5:

      export OPENAI_API_KEY=...

      triskele evaluate collect --prompts prompts.jsonl --models base@own tuned@own
      --judge gpt-4.1@openai --endpoints own=http://127.0.0.1:8000/v1
      openai=https://api.openai.com/v1 --key-env openai=OPENAI_API_KEY
      --prices base=0/0 tuned=0/0 gpt-4.1=2/8 --max-cost 5

    Only these pairs, 64 calls at once, unattended, for an hour:

      triskele evaluate collect --prompts prompts.csv --pairs pairs.csv --models a b c --judge c
      --endpoints http://127.0.0.1:8000/v1 --concurrency 64 --deadline 3600 --yes

    Ends with status 0 when all is asked, 1 when something is left, 130 after Ctrl-C (a second one
    drops the calls under way).
    """

    prompts: Path
    """What to ask: .txt (a prompt per line), .jsonl, .csv or .parquet (columns prompt and, if
    there, question_id and category)."""
    models: tuple[str, ...]
    """Who answers: [LABEL=]MODEL[@ENDPOINT], two or more."""
    judge: str
    """Who judges, in the same way."""
    endpoints: tuple[str, ...]
    """Where: [NAME=]ADDRESS, such as http://127.0.0.1:8000/v1."""
    out: Path = Path("collection")
    """Folder for everything that is written."""
    pairs: Path | None = None
    """Which pairs to compare: a table with model_a, model_b and, if it is not for every prompt,
    question_id."""
    pairs_per_prompt: int = 7
    """Otherwise, how many pairs to draw for each prompt; all of them if there are fewer."""
    seed: int = 0
    """Seed of the pairs that are drawn."""
    id_column: str | None = None
    """Column of the prompts' identifiers, if it has another name."""
    text_column: str | None = None
    """Column of the prompts' texts, if it has another name."""
    limit: int | None = None
    """Take only so many prompts, from the beginning."""
    dry_run: bool = False
    """Only say what would be asked and what it would cost."""
    yes: bool = False
    """Do not ask before sending. Needed, or a bound on the cost, where nobody can be asked."""
    retry_failed: bool = False
    """Ask again what was refused before, or came back empty."""
    keys: KeyOptions = field(default_factory=KeyOptions)
    asking: AskingOptions = field(default_factory=AskingOptions)
    limits: LimitOptions = field(default_factory=LimitOptions)

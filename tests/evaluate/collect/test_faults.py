from triskele.evaluate.collect.faults import EndpointFault, RequestFault, TransientFault


def test_a_fault_says_its_reason() -> None:
    for kind in (TransientFault, RequestFault, EndpointFault):
        assert str(kind("it broke")) == "it broke"


def test_a_transient_fault_costs_nothing_unless_it_says_so() -> None:
    fault = TransientFault("busy", retry_after=3.0)
    assert (fault.retry_after, fault.may_be_billed) == (3.0, False)

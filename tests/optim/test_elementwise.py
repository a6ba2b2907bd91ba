import torch

from triskele.optim.elementwise import adamw_step, init_adamw_state


def test_steps_are_those_of_torch_adamw_to_the_bit() -> None:
    torch.manual_seed(0)
    ours = [torch.randn(5, requires_grad=True), torch.randn(3, 4, requires_grad=True)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    reference = torch.optim.AdamW(
        theirs, lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1, foreach=True
    )
    states: list[dict[str, torch.Tensor]] = [{}, {}]
    for parameter, state in zip(ours, states, strict=True):
        init_adamw_state(parameter, state, capturable=False)
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        reference.step()
        with torch.no_grad():
            adamw_step(
                ours,
                states,
                lr=0.01,
                betas=(0.8, 0.9),
                eps=1e-6,
                weight_decay=0.1,
                capturable=False,
            )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
    assert states[0]["step"].item() == 5


def test_no_parameters_is_no_step() -> None:
    adamw_step([], [], lr=1.0, betas=(0.9, 0.9), eps=0.1, weight_decay=0.0, capturable=False)

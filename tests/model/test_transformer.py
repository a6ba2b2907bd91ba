import copy
import math

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from triskele.model import ModelConfig, Transformer, initialise

CONFIG = ModelConfig(vocab_size=61, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, max_seq_len=32)
UNTIED = ModelConfig(vocab_size=61, d_model=32, n_layers=2, n_heads=4, tie_embeddings=False)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_tokens(config: ModelConfig, *shape: int) -> torch.Tensor:
    return torch.randint(config.vocab_size, shape, generator=seeded(1))


@pytest.mark.parametrize("config", [CONFIG, UNTIED])
def test_parameters_bear_the_names_of_hugging_face_llama(config: ModelConfig) -> None:
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=61,
            hidden_size=32,
            intermediate_size=config.ff_dim,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=config.kv_heads,
            tie_word_embeddings=config.tie_embeddings,
        )
    )
    ours = {name: p.shape for name, p in Transformer(config).state_dict().items()}
    assert ours == {name: p.shape for name, p in theirs.state_dict().items()}


def test_future_tokens_do_not_change_past_logits() -> None:
    model, tokens = Transformer(CONFIG, generator=seeded()), some_tokens(CONFIG, 2, 16)
    changed = tokens.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % CONFIG.vocab_size
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(after[:, :9], before[:, :9], rtol=0, atol=0)
    assert (after[:, 9] != before[:, 9]).any()


def test_a_past_token_changes_every_later_logit() -> None:
    model, tokens = Transformer(CONFIG, generator=seeded()), some_tokens(CONFIG, 1, 16)
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % CONFIG.vocab_size
    difference = (model(changed) - model(tokens)).abs().amax(dim=(0, 2))
    assert (difference[3:] > 0).all()
    assert (difference[:3] == 0).all()


def test_sequences_of_a_batch_do_not_see_each_other() -> None:
    model, tokens = Transformer(CONFIG, generator=seeded()), some_tokens(CONFIG, 3, 16)
    together = model(tokens)
    alone = torch.cat([model(row[None]) for row in tokens])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("vocab_size", [256, 4096])
def test_the_first_loss_is_that_of_a_uniform_guess(vocab_size: int, tie: bool) -> None:
    config = ModelConfig(vocab_size=vocab_size, d_model=128, n_layers=4, tie_embeddings=tie)
    model, tokens = Transformer(config, generator=seeded()), some_tokens(config, 4, 65)
    loss = model(tokens[:, :-1], tokens[:, 1:])
    assert loss.item() == pytest.approx(math.log(vocab_size), abs=0.1)


def test_loss_is_the_mean_cross_entropy_of_the_logits() -> None:
    model, tokens = Transformer(CONFIG, generator=seeded()), some_tokens(CONFIG, 2, 17)
    logits = model(tokens[:, :-1])
    expected = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(model(tokens[:, :-1], tokens[:, 1:]), expected)


@pytest.mark.parametrize("config", [CONFIG, UNTIED])
def test_gradients_reach_every_parameter_and_equal_those_through_the_logits(
    config: ModelConfig,
) -> None:
    model, tokens = Transformer(config, generator=seeded()), some_tokens(config, 2, 17)
    through_logits = copy.deepcopy(model)
    model(tokens[:, :-1], tokens[:, 1:]).backward()
    logits = through_logits(tokens[:, :-1])
    F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    theirs = dict(through_logits.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(
            parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-6, msg=name
        )


def test_a_few_steps_of_descent_learn_a_sequence_by_heart() -> None:
    model, tokens = Transformer(CONFIG, generator=seeded()), some_tokens(CONFIG, 2, 17)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_a_tied_head_is_the_embedding_also_in_a_copy() -> None:
    model = copy.deepcopy(Transformer(CONFIG))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    untied = Transformer(UNTIED)
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_one_out() -> None:
    torch.manual_seed(1)
    one = Transformer(CONFIG, generator=seeded(7)).state_dict()
    torch.manual_seed(2)
    two = Transformer(CONFIG, generator=seeded(7)).state_dict()
    other = Transformer(CONFIG, generator=seeded(8)).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_the_variance_of_the_stream_does_not_grow_with_depth() -> None:
    def deepest(n_layers: int) -> float:
        config = ModelConfig(vocab_size=512, d_model=64, n_layers=n_layers)
        model, seen = Transformer(config, generator=seeded()), []
        model.model.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        model(some_tokens(config, 2, 64))
        return seen[0].std().item()

    assert deepest(16) < 1.5 * deepest(2)


def test_initial_weights_have_the_spread_that_is_promised() -> None:
    config = ModelConfig(vocab_size=512, d_model=256, n_layers=8, n_heads=4, tie_embeddings=False)
    for name, parameter in Transformer(config, generator=seeded()).named_parameters():
        spread = parameter.std(correction=0).item()
        if name.endswith("norm.weight"):
            assert (parameter == 1).all()
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            assert spread == pytest.approx(0.005, rel=0.05), name
        else:
            assert spread == pytest.approx(0.02, rel=0.05), name


def test_initialising_again_replaces_what_was_learned() -> None:
    model = Transformer(CONFIG, generator=seeded())
    fresh = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(9.0)
    initialise(model, generator=seeded())
    assert all(torch.equal(p, fresh[name]) for name, p in model.state_dict().items())


def test_autocast_changes_precision_not_meaning() -> None:
    model, tokens = Transformer(CONFIG, generator=seeded()), some_tokens(CONFIG, 2, 17)
    exact = model(tokens[:, :-1], tokens[:, 1:])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(tokens[:, :-1], tokens[:, 1:])
    rounded.backward()
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), abs=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# dynamo itself makes an instance of the class it warns about
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*:DeprecationWarning")
def test_compiled_whole_it_computes_the_same() -> None:
    model, tokens = Transformer(CONFIG, generator=seeded()), some_tokens(CONFIG, 2, 17)
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    ours = compiled(tokens[:, :-1], tokens[:, 1:])
    theirs = eager(tokens[:, :-1], tokens[:, 1:])
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    for (name, one), two in zip(model.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_too_long_a_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="at most max_seq_len=32 tokens fit, got 33"):
        Transformer(CONFIG)(some_tokens(CONFIG, 1, 33))

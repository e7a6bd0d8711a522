"""The stacked transformer against torch.nn's layers, run by run; its text; a tiny block of training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sde_momentum.core.errors import InputError
from validation.networks.block import Block, train
from validation.networks.losses import SquareLoss
from validation.networks.sharpness import trace_hessian, trace_hessian_gradient
from validation.networks.task import METRICS
from validation.networks.transformer import Transformer
from validation.networks.transformer_text import ALPHABET, EXPERIMENT, contexts, zen

pytestmark = pytest.mark.usefixtures("one_torch_thread")

K, LENGTH, WIDTH, HEADS = 5, 4, 6, 2
DOUBLE = torch.float64


def network(n_blocks=2):
    return Transformer(K, LENGTH, WIDTH, n_blocks, HEADS)


def stacked(model, n_runs):
    """Runs from different seeds, moved off the special values (ones and zeros) of the initialisation."""
    runs = [model.initial(seed, DOUBLE) for seed in range(n_runs)]
    stream = torch.Generator().manual_seed(7)
    joined = {name: torch.cat([run[name] for run in runs]) for name in runs[0]}
    return {name: x + 0.2 * torch.randn(x.shape, generator=stream, dtype=DOUBLE) for name, x in joined.items()}


def tokens(*shape, seed=0):
    drawn = torch.randint(K, (*shape, LENGTH), generator=torch.Generator().manual_seed(seed))
    return nn.functional.one_hot(drawn, K).to(DOUBLE)


def of_run(parameters, r):
    return {name: value[r : r + 1] for name, value in parameters.items()}


def plain(parameters, r, n_blocks, inputs):
    """Outputs and gradient of their sum of squares, by torch.nn's encoder layers with a causal mask, every position computed."""
    own = {name: value[r].clone() for name, value in parameters.items()}
    blocks = nn.ModuleList(
        nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", 1e-5, batch_first=True, norm_first=True, dtype=DOUBLE)
        for _ in range(n_blocks)
    )
    with torch.no_grad():
        for i, block in enumerate(blocks):
            b = {name.removeprefix(f"block{i}_"): value for name, value in own.items() if name.startswith(f"block{i}_")}
            block.self_attn.in_proj_weight.copy_(torch.cat([b["query"].T, b["key"].T, b["value"].T]))
            block.self_attn.out_proj.weight.copy_(b["mix"].T)
            for linear, matrix, bias in ((block.linear1, "up", "up_bias"), (block.linear2, "down", "down_bias")):
                linear.weight.copy_(b[matrix].T)
                linear.bias.copy_(b[bias])
            for norm, name in ((block.norm1, "norm1"), (block.norm2, "norm2")):
                norm.weight.copy_(b[f"{name}_gain"])
                norm.bias.copy_(b[f"{name}_shift"])
            nn.init.zeros_(block.self_attn.in_proj_bias)
            nn.init.zeros_(block.self_attn.out_proj.bias)
    x = own["tokens"][inputs.argmax(-1)] + own["positions"]
    for block in blocks:
        x = block(x, src_mask=nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=DOUBLE))
    x = nn.functional.layer_norm(x, (WIDTH,), own["norm_gain"], own["norm_shift"], 1e-5)
    outputs = (x @ own["head"] + own["head_bias"])[:, -1]
    query = torch.autograd.grad(outputs.square().sum() / 2, blocks[0].self_attn.in_proj_weight)[0][:WIDTH]
    return outputs.detach(), query.T


@pytest.mark.parametrize("n_blocks", [1, 2])
def test_outputs_and_gradient_are_those_of_torchs_layers(n_blocks):
    model, inputs = network(n_blocks), tokens(7)
    parameters = stacked(model, 3)
    outputs, pull = model.pullback(parameters, inputs)
    gradient = pull(outputs)
    for r in range(3):
        expected, query = plain(parameters, r, n_blocks, inputs)
        torch.testing.assert_close(outputs[r], expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(gradient["block0_query"][r], query, rtol=1e-9, atol=1e-10)


def test_a_run_in_a_stack_is_what_it_is_alone_also_on_a_batch_of_its_own():
    model, batches = network(), tokens(3, 5)
    parameters = stacked(model, 3)
    outputs, pull = model.pullback(parameters, batches)
    gradient = pull(outputs)
    for r in range(3):
        alone, pull_alone = model.pullback(of_run(parameters, r), batches[r])
        torch.testing.assert_close(outputs[r], alone[0], rtol=1e-10, atol=1e-10)
        for name, value in pull_alone(alone).items():
            torch.testing.assert_close(gradient[name][r], value[0], rtol=1e-10, atol=1e-10)


def test_trace_of_the_hessian_is_that_of_the_jacobian_within_its_error_and_its_gradient_that_of_the_probes():
    model, inputs = network(1), tokens(6)
    parameters, loss = stacked(model, 2), SquareLoss(torch.zeros(6, K, dtype=DOUBLE), 0.1)
    found, error = trace_hessian(model, loss, parameters, inputs, n_probes=200)
    for r in range(2):
        jacobian = torch.func.jacrev(lambda w: model.forward(w, inputs))(of_run(parameters, r))
        exact = sum(float(value.square().sum()) for value in jacobian.values()) / (6 * K)
        assert abs(float(found[r]) - exact) < 4 * float(error[r])
    step = 1e-5
    slope = trace_hessian_gradient(model, loss, parameters, inputs, n_probes=3, seed=5)["block0_mix"][0, 1, 2]
    moved = []
    for sign in (1, -1):
        other = {name: value.clone() for name, value in parameters.items()}
        other["block0_mix"][0, 1, 2] += sign * step
        moved.append(float(trace_hessian(model, loss, other, inputs, n_probes=3, seed=5)[0][0]))
    assert float(slope) == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-5)


def test_the_text_is_pythons_and_each_context_has_one_continuation():
    text = zen()
    assert text.startswith("the zen of python. by tim peters beautiful is better than ugly.")
    before, after = contexts(8)
    assert len(np.unique(before, axis=0)) == len(before) > 500
    for context, letter in zip(before[::50], after[::50], strict=True):
        words = "".join(ALPHABET[i] for i in context)
        ends = [end for end in range(8, len(text)) if text[end - 8 : end] == words]
        assert {text[end] for end in ends} == {ALPHABET[letter]}


TINY = {"samples": 6, "test_samples": 10, "length": 3, "width": 4, "blocks": 1}


@pytest.mark.parametrize("loss", ["square", "cross-entropy"])
def test_a_tiny_block_trains(loss):
    configuration = EXPERIMENT.configuration({**TINY, "loss": loss, "label_noise": 0.1})
    task = EXPERIMENT.build(configuration)
    start = {name: value.numpy() for name, value in task.network.initial(0).items()}
    fields = (0.5, (0.1, 0.3), (0, 1), tuple(range(0, 31, 10)), 0.0, float("inf"), 0)
    found = train(Block(EXPERIMENT.build, configuration, start, *fields))
    loss_at = found["values"][list(METRICS).index("train_loss")]
    assert np.isfinite(found["values"]).all()
    assert (loss_at[..., -1] < loss_at[..., 0]).all()


REFUSED = [({"heads": 5}, "--heads"), ({"samples": 700}, "--samples"), ({"loss": "hinge"}, "--loss"), ({"length": 0}, "--length")]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_impossible_sizes_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        EXPERIMENT.build(EXPERIMENT.configuration(given))


def test_inputs_of_another_shape_are_refused():
    with pytest.raises(InputError, match="inputs"):
        network().forward(stacked(network(), 1), torch.zeros(2, LENGTH + 1, K, dtype=DOUBLE))

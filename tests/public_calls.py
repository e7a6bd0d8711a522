"""A cheap, valid call of every public function, class and method that takes arguments; what to put in their place is tried there.

A new public name without an entry here fails `test_bad_arguments.py`.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sympy as sp

import sde_momentum as sm
from derivations.kernels.compiled_problem import CompiledProblem
from derivations.symbolic_model import SymbolicModel
from sde_momentum.predictors.target import Target

TORCH = importlib.util.find_spec("torch") is not None
MODULES = (*(["training"] if TORCH else []), "theory", "geometry", "problems", "sde", "dynamics", "predictors")
NEED_TORCH = {"MomentumScaler", "estimate_timescales", "find_momentum", "find_lightning_momentum", "find_trainer_momentum"}
CALLBACKS = {"LightningMomentumCallback", "TrainerMomentumCallback"}
"""Which need Lightning and Transformers; what they are given goes to MomentumScaler."""
EXEMPT = {
    # what is made by the library, and only read by its users
    "Timescales", "DriftFlow", "Answer", "Check", "Recommendation", "Prediction", "UniversalCurve", "MomentumSchedule",
    "Question", "Kernels", "BuiltIn", "FunctionProblem", "Frame", "Optima", "DriftPath", "InputError", "EffectiveLoss",
    # what is written by those who extend it, and has no values to check
    "Problem", "Force", "Way", "Method", "Metric", "Functional",
    # what users' compiled functions call
    "multiply",
    # made by the library
    "FoundMomentum", "Measurement", "TimescaleEstimate",
    # of files, or without arguments
    "read_curve", "load_problem", "built_in_problems",
}  # fmt: skip


@functools.cache
def valley() -> sm.Valley:
    return sm.Valley([1.0, 2.0], [0.2, -0.2], curvature=0.5)


@functools.cache
def sensing() -> sm.MatrixSensing:
    return sm.MatrixSensing(d=2, rank=1, n_measurements=2)


@functools.cache
def product() -> CompiledProblem:
    """f = u v."""
    u, v = sp.symbols("u v", real=True)
    return SymbolicModel([u * v], [u, v], [1.0], name="product").compile()


@functools.cache
def point() -> sm.ManifoldPoint:
    return sm.ManifoldPoint(valley(), np.array([2.0, 0.0, 0.0]))


POINT3 = np.array([2.0, 0.0, 0.0])


def drift(x: Any, t: Any, p: Any) -> Any:
    return -x


def unit(x: Any, t: Any, p: Any) -> Any:
    return 1.0


def calls() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Name, what is called, and valid arguments by name. Those not given keep their defaults, and are tried all the same."""
    force = sm.forces.LabelNoise(1e-3)
    rule = sm.MomentumRule.from_reference(0.1, 0.9, batch_size=8)
    diagram = sm.PhaseDiagram(noise=1e-3, curvature=2.0, eigenvalues=[0.5, 2.0], coupling=5.0)
    where = {"point": point(), "displacement": [1.0, 0.0, 0.0], "lr": 0.01, "one_minus_beta": 0.1}
    line = np.linspace(0.0, 3.0, 7)
    state = sm.predictors.StationaryState(point())
    form = sm.predictors.ClosedForm(sm.predictors.DriftPath(valley(), POINT3, "trace_hessian", 0.9), 1e-3)
    x = sp.Symbol("x", real=True)
    equation = sm.SDE(drift, unit)
    yield "convergence_time", sm.convergence_time, {"values": np.exp(-line), "times": line}
    yield "drift_flow", sm.drift_flow, {"problem": valley(), "start": POINT3}
    yield "timescales", sm.timescales, {"lr": 0.01, "momentum": 0.9, "eigenvalue": 1.0}
    yield "timescales by 1 - beta", sm.timescales, {"lr": 0.01, "one_minus_beta": 0.1, "eigenvalue": 1.0}
    yield "predict", sm.predict, {"problem": valley(), "lr": 0.1, "noise": 1e-3, "start": POINT3, "methods": ["closed form"],
                                  "target": ("trace_hessian", 0.9), "progress": False}  # fmt: skip
    sgd = sm.LabelNoiseSGD(valley(), 0.1)
    yield "solve", sm.solve, {"system": sgd, "start": POINT3, "times": [0, 2], "lr": 0.1, "momentum": 0.5, "seeds": [0, 1],
                              "metrics": ["trace_hessian"], "workers": 1, "progress": False}  # fmt: skip
    yield "LabelNoiseSGD", sm.LabelNoiseSGD, {"problem": valley(), "label_noise": 0.1}
    yield "CriticalLimit", sm.dynamics.CriticalLimit, {"problem": valley()}
    yield "CriticalValley", sm.dynamics.CriticalValley, {"valley": valley()}
    yield "DriftDiffusion", sm.dynamics.DriftDiffusion, {"problem": valley(), "factor": lambda w: np.eye(3)}
    yield "MomentClosure", sm.dynamics.MomentClosure, {"method": sgd}
    yield "Valley", sm.Valley, {"eigenvalues": [1.0, 2.0], "slopes": [0.1, -0.1], "curvature": 0.5}
    yield "Valley.balanced", sm.Valley.balanced, {"n_modes": 2, "curvature": 0.5, "coupling": 1.0}
    yield "Valley.mean_trace_hessian", valley().mean_trace_hessian, {"mean_square": 1.0}
    yield "Valley.start", valley().start, {"theta": 1.0}
    yield "MatrixSensing", sm.MatrixSensing, {"d": 2, "rank": 1, "n_measurements": 2}
    for problem in (valley(), sensing(), product()):
        w = POINT3 if isinstance(problem, sm.Valley) else problem.interpolating_start(seed=1)
        n, p = problem.n_parameters, problem.n_outputs
        of = f"{type(problem).__name__}."
        for name in (
            "outputs",
            "jacobian",
            "residual",
            "loss",
            "trace_hessian",
            "trace_hessian_gradient",
            "hessians",
            "distance",
            "vjp",
        ):
            yield of + name, getattr(problem, name), {"w": w}
        if problem is not product():
            yield of + "test_error", problem.test_error, {"w": w}
        yield of + "contract_hessians", problem.contract_hessians, {"w": w, "c": np.ones((p, n))}
        yield of + "pullback", problem.pullback, {"w": w, "r": np.ones(p)}
        yield of + "metric", problem.metric, {"metric": "trace_hessian", "w": w}
        yield of + "find_metric", problem.find_metric, {"metric": "trace_hessian"}
        if not isinstance(problem, sm.Valley):
            yield of + "random_start", problem.random_start, {}
            yield of + "interpolating_start", problem.interpolating_start, {}
        yield of + "check_point", problem.check_point, {"w": w}
    w = sensing().interpolating_start()
    yield "MatrixSensing.factors", sensing().factors, {"w": w}
    yield "MatrixSensing.product", sensing().product, {"w": w}
    yield "MatrixSensing.join", sensing().join, {"u": np.ones((2, 2)), "v": np.ones((2, 2))}
    yield "MatrixSensing.unit_outputs", sensing().unit_outputs, {"w": w}
    yield "MatrixSensing.unit_gradient", sensing().unit_gradient, {"w": w, "weights": np.ones(sensing().unit_outputs(w).shape)}
    yield "Problem.from_function", sm.Problem.from_function, {"f": lambda w: w[:1] * w[1:], "targets": [1.0], "n_parameters": 2}
    yield "as_problem", sm.problems.as_problem, {"given": valley()}
    yield "built_in", sm.problems.built_in, {"name": "valley"}
    yield "descend_to_manifold", sm.problems.descend_to_manifold, {"problem": valley(), "start": POINT3}
    yield "project_to_manifold", sm.problems.project_to_manifold, {"problem": valley(), "w": POINT3}
    yield "ManifoldPoint", sm.ManifoldPoint, {"problem": valley(), "w": POINT3}
    yield "ManifoldPoint.along", point().along, {"vector": [1.0, 0.0, 0.0]}
    yield "ManifoldPoint.curvature", point().curvature, {"displacement": [1.0, 0.0, 0.0]}
    yield "ManifoldPoint.coupling", point().coupling, {"displacement": [1.0, 0.0, 0.0]}
    yield "ManifoldPoint.stiffness", point().stiffness, {"field": lambda w: w, "displacement": [1.0, 0.0, 0.0]}
    yield "ManifoldPoint.slopes_of", point().slopes_of, {"modes": [0]}
    yield "ManifoldPoint.ambient_hessian", point().ambient_hessian, {}
    yield (
        "move",
        sm.geometry.move,
        {"problem": valley(), "start": POINT3[None], "displacement": np.zeros((1, 3)), "tolerance": 1e-9},
    )
    forces: list[tuple[type, dict[str, Any]]] = [
        (sm.forces.LabelNoise, {"noise": 1e-3}),
        (sm.forces.LocalSGD, {"noise": 1e-3, "n_workers": 2, "local_steps": 2}),
        (sm.forces.WeightDecay, {"weight_decay": 1e-3}),
        (sm.forces.ParameterNoise, {"variance": 1e-3}),
        (sm.forces.GradientNoise, {"factor": lambda w: np.eye(3)}),
        (sm.forces.SamplingNoise, {"residuals": [0.1, 0.2], "batch_size": 1}),
        (sm.forces.Dropout, {"rate": 0.1}),
    ]
    for kind, given in forces:
        yield kind.__name__, kind, given
    yield "LabelNoise.stiffness", force.stiffness, where
    yield "LabelNoise.pull", force.pull, {"problem": valley(), "lr": 0.01, "one_minus_beta": 0.1}
    yield "MomentumRule.from_reference", sm.MomentumRule.from_reference, {"lr": 0.1, "momentum": 0.9}
    yield "MomentumRule.from_geometry", sm.MomentumRule.from_geometry, {"noise": 1e-3, "curvature": 1.0}
    yield (
        "MomentumRule.from_forces",
        sm.MomentumRule.from_forces,
        {"point": point(), "displacement": [1.0, 0, 0], "forces": [force]},
    )
    yield "MomentumRule.for_adam", sm.MomentumRule.for_adam, {"curvature": 1.0}
    batches = {"eigenvalues": [1.0, 2.0], "n_outputs": 8, "batch_size": 2}
    yield "MomentumRule.for_interpolation", sm.MomentumRule.for_interpolation, batches
    for name in ("loss_multiplier", "second_moment_matrix"):
        yield name, getattr(sm.predictors, name), {**batches, "lr": 0.1, "momentum": 0.9}
    hyperbola = sm.ManifoldPoint(sm.Problem.from_function(lambda w: w[:1] * w[1:], [1.0], 2), np.ones(2))
    yield "adam_curvature", sm.predictors.adam_curvature, {"point": hyperbola, "displacement": [1.0, -1.0]}
    yield "MomentumRule.from_sweep", sm.MomentumRule.from_sweep, {"result": {"exponent": 0.5, "prefactor": 1.0}}
    for name in ("one_minus_beta", "momentum", "clamped", "explain"):
        yield f"MomentumRule.{name}", getattr(rule, name), {"lr": 0.1}
    yield "MomentumRule.lr", rule.lr, {"momentum": 0.9}
    yield "PhaseDiagram", sm.PhaseDiagram, {"noise": 1e-3, "curvature": 2.0, "eigenvalues": [0.5, 2.0]}
    for name in ("regime", "transverse", "longitudinal", "convergence"):
        yield f"PhaseDiagram.{name}", getattr(diagram, name), {"lr": 0.01, "one_minus_beta": 0.1}
    for name in ("optimum", "optimum_band", "edge"):
        yield f"PhaseDiagram.{name}", getattr(diagram, name), {"lr": 0.01}
    yield "PhaseDiagram.stable_lr", diagram.stable_lr, {"one_minus_beta": 0.1}
    yield "PhaseDiagram.dataset", diagram.dataset, {"lr": [0.01, 0.1], "one_minus_beta": [0.1, 0.2]}
    yield "PhaseDiagram.of_point", sm.PhaseDiagram.of_point, {"point": point(), "displacement": [1.0, 0, 0], "noise": 1e-3}
    yield "Target", Target, {"metric": "trace_hessian", "fraction": 0.5}
    yield "StationaryState", sm.predictors.StationaryState, {"point": point()}
    yield "StationaryState.decay_rate", state.decay_rate, {"kappa": 0.1}
    yield "StationaryState.covariance", state.covariance, {"kappa": 0.1}
    yield "StationaryState.displacement", state.displacement, {"kappa": 0.1}
    yield "StationaryState.excess", state.excess, {"kappa": 0.1}
    yield "StationaryState.price", state.price, {"lr": 0.01, "one_minus_beta": 0.1, "noise": 1e-3}
    yield "StationaryState.kappa_for", state.kappa_for, {"share": 0.1, "of": 1.0}
    yield "ClosedForm.one_minus_beta", form.one_minus_beta, {"lr": 0.01}
    yield "ClosedForm.time", form.time, {"lr": 0.01, "one_minus_beta": 0.1}
    yield "ClosedForm.uncertainty", form.uncertainty, {"lr": 0.01}
    yield "CurveSettings", sm.predictors.CurveSettings, {}
    yield "first_phase", sm.predictors.first_phase, {"problem": valley(), "start": POINT3, "lr": 0.1}
    yield "normal_excess", sm.predictors.normal_excess, {"point": point(), "lr": 0.01, "one_minus_beta": 0.1, "noise": 1e-3}
    yield "price_of_speed", sm.predictors.price_of_speed, {"point": point(), "lr": 0.1, "one_minus_beta": [0.02], "noise": 1e-3,
                                                          "n_seeds": 2, "progress": False, "workers": 1}  # fmt: skip
    yield "momentum_schedule", sm.predictors.momentum_schedule, {"rule": rule, "lr": [0.1, 0.05]}
    yield "measured_optima", sm.predictors.measured_optima, {"results": None}
    yield "fastest_within", sm.predictors.fastest_within, {"curve": None, "price": None, "excess": 0.1}
    yield "universal_curve", sm.universal_curve, {"problem": None, "start": POINT3, "progress": False}
    yield "EffectiveLossPredictor", sm.EffectiveLossPredictor, {"problem": valley(), "start": POINT3, "noise": 1e-3,
                                                                "metric": "trace_hessian", "fraction": 0.9}  # fmt: skip
    yield "SDE", sm.SDE, {"drift": drift, "diffusion": unit}
    few = {"step": 0.1, "n_paths": 8, "workers": 1, "progress": False}
    yield "sde.solve", sm.sde.solve, {"equation": equation, "x0": 1.0, "times": [0.0, 0.1], **few}
    yield "Adaptive", sm.sde.Adaptive, {"step": 0.1}
    yield "Fixed", sm.sde.Fixed, {"step": 0.1}
    yield "Multilevel", sm.sde.Multilevel, {"step": 0.1}
    yield "OnIncrements", sm.sde.OnIncrements, {"increments": np.zeros((2, 4, 1)), "step": 0.1}
    yield "Histogram", sm.sde.Histogram, {"edges": [0.0, 1.0, 2.0]}
    yield "KeepPaths", sm.sde.KeepPaths, {"numbers": [0, 1]}
    yield "PassageTimes", sm.sde.PassageTimes, {"event": drift}
    yield "Quantiles", sm.sde.Quantiles, {}
    yield "Covariance", sm.sde.Covariance, {}
    yield "Autocovariance", sm.sde.Autocovariance, {}
    kept = sm.solve(equation, 1.0, [0.0, 0.1], statistics=[sm.sde.KeepPaths([0])], **few)
    yield "as_chains", sm.sde.as_chains, {"result": kept}
    yield "UntilError", sm.sde.UntilError, {"relative": 0.1}
    yield "Langevin", sm.sde.Langevin, {"force": drift}
    yield "OrnsteinUhlenbeck", sm.sde.OrnsteinUhlenbeck, {"rate": 1.0, "noise": 1.0}
    yield (
        "coarsen",
        sm.sde.coarsen,
        {"increments": np.zeros((2, 4, 1)), "integrals": np.zeros((2, 4, 1)), "factor": 2, "step": 0.1},
    )
    yield "standard_increments", sm.sde.standard_increments, {"seed": 0, "n_paths": 2, "n_steps": 3}
    yield "from_sympy", sm.sde.from_sympy, {"drift": -x, "diffusion": sp.Integer(1), "state": x}
    yield "to_ito", sm.sde.to_ito, {"drift": -x, "diffusion": x, "state": x}
    if TORCH:
        yield from torch_calls()
    yield "to_stratonovich", sm.sde.to_stratonovich, {"drift": -x, "diffusion": x, "state": x}


def torch_calls() -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Those of PyTorch, on a model of four parameters; each call makes its own, for training changes it."""
    import torch

    x = torch.eye(3, dtype=torch.float64)
    y = torch.tensor([[1.0], [0.0], [2.0]], dtype=torch.float64)

    def model() -> torch.nn.Module:
        return torch.nn.Linear(3, 1, dtype=torch.float64)

    def sgd(of: torch.nn.Module) -> torch.optim.SGD:
        return torch.optim.SGD(of.parameters(), lr=0.1, momentum=0.5)

    @functools.wraps(sm.find_momentum)
    def find(**given: Any) -> Any:
        trained = model()
        return sm.find_momentum(**{"model": trained, "optimizer": sgd(trained)} | given)

    @functools.wraps(sm.MomentumScaler)
    def scaler(**given: Any) -> Any:
        return sm.MomentumScaler(**{"optimizer": sgd(model())} | given)

    yield "estimate_timescales", sm.estimate_timescales, {"model": model(), "loss": torch.nn.functional.mse_loss, "data": (x, y),
                                                          "lr": 0.1, "label_noise": 0.1, "progress": False,
                                                          "settings": sm.training.QUICK}  # fmt: skip
    yield "EstimatorSettings", sm.training.EstimatorSettings, {}
    yield "find_momentum", find, {"loss": torch.nn.functional.mse_loss, "loader": [(x, y)], "steps": 10, "momenta": [0.0, 0.5],
                                  "budget": 1.0, "progress": False}  # fmt: skip
    short = {"steps": 10, "momenta": [0.0, 0.5], "budget": 1.0, "progress": False}
    module = model()
    module.configure_optimizers = lambda: sgd(module)
    module.training_step = lambda batch, number: torch.nn.functional.mse_loss(module(batch[0]), batch[1])

    def lightning(module: Any, clip: Any = None, **options: Any) -> Any:
        """With batches that the module takes: what it says of others is its own."""
        return sm.training.find_lightning_momentum(module, [(x, y)], clip=clip, **options)

    yield "find_lightning_momentum", lightning, {"module": module, "clip": 1.0, **short}
    yield "find_trainer_momentum", sm.training.find_trainer_momentum, {"trainer": None}
    yield "MomentumScaler", scaler, {"rule": sm.MomentumRule.from_reference(0.1, 0.9)}


def public_names() -> set[str]:
    """Callables of the package and its public modules that take arguments, by name."""
    found = set(sm.__all__)
    for name in MODULES:
        found |= {f"{name}.{inner}" for inner in getattr(sm, name).__all__ if inner not in CALLBACKS}
    kinds = {name: functools.reduce(getattr, name.split("."), sm) for name in found if TORCH or name not in NEED_TORCH}
    return {name.rpartition(".")[2] for name, value in kinds.items() if callable(value) and not inspect.ismodule(value)}

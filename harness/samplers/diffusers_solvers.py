"""Schedulers of diffusers as samplers: `diffusers(UniPCMultistep, steps=20, solver_type=bh1)`.

Those listed here ran against closed forms or against our own samplers (docs/solvers.md); others are
refused with the reason. Options are those of the class that change its steps: what makes its
ladder, prediction and noise is ours. Some have a short name as well, such as `dpmpp_3m`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from harness.core.errors import HarnessError, unknown
from harness.samplers import scheduler_forms as forms
from harness.samplers.base import LADDER_NAMES, SAMPLERS, Clock, Denoise, Noise, Sampler
from harness.samplers.edm import NotNegative
from harness.samplers.heun import ALL_NOISE
from harness.samplers.scheduler_forms import Form, run_scheduler

PREFIX = "diffusers:"

Options = dict[str, tuple[Any, Any]]
Order = Literal[1, 2, 3]
Switch = bool
Levels = Annotated[list[float], Field(min_length=2, max_length=2)]

_DPM: Options = {
    "solver_order": (Order, 2),
    "algorithm_type": (Literal["dpmsolver++", "sde-dpmsolver++"], "dpmsolver++"),
    "solver_type": (Literal["midpoint", "heun"], "midpoint"),
}
_FINAL: Options = {"lower_order_final": (Switch, True), "euler_at_final": (Switch, False)}
_ETA = Annotated[float, Field(ge=0, le=1)]

_VP = Form(forms.variance_preserving, forms.as_estimate, forms.one_each, "sample")
_SINGLE = Form(forms.variance_preserving, forms.as_estimate, forms.single_step, "sample")
_BY_LEVEL = Form(forms.variance_preserving, forms.as_estimate, forms.by_level, "sample")
_TABLE = Form(forms.variance_preserving, forms.as_estimate, forms.table, "sample")
_TIMES = Form(forms.variance_preserving, forms.as_estimate, forms.whole_times, "sample")
_VE = Form(forms.variance_exploding, forms.as_estimate, forms.one_each, "sample")
_VE_EPS = Form(forms.variance_exploding, forms.epsilon, forms.one_each, "epsilon")
_EDM = Form(forms.variance_exploding, forms.as_estimate, forms.given_estimates(forms.one_each))
_HEUN = Form(forms.variance_exploding, forms.as_estimate, forms.slopes_at_both_ends, "sample")
_MIDDLE = Form(forms.variance_exploding, forms.epsilon, forms.midpoints, "epsilon")
_MIDDLE_A = Form(forms.variance_exploding, forms.epsilon, forms.ancestral_midpoints, "epsilon")
_FLOW = Form(forms.rectified_flow, forms.as_velocity, forms.flow_times)
_FLOW_HEUN = Form(forms.rectified_flow, forms.as_velocity, forms.flow_slopes_at_both_ends)


@dataclass(frozen=True)
class Solver:
    """A scheduler class that may be used.

    `told` are options of its `step` rather than of the class, `spacing` its default one.
    `above_zero` says for which options it takes no step to sigma 0: that one is then Euler's.
    `top` is the highest first level.
    """

    title: str
    paper: str
    form: Form
    options: Options = field(default_factory=dict)
    told: tuple[str, ...] = ()
    spacing: str | None = None
    above_zero: Callable[[dict[str, Any]], bool] = lambda options: False
    top: float = inf


def _always(options: dict[str, Any]) -> bool:
    return True


def _sde(options: dict[str, Any]) -> bool:
    return options.get("algorithm_type") == "sde-dpmsolver++"


_PP = "Lu et al. 2022, DPM-Solver++, arXiv:2211.01095"
_KARRAS = "Karras et al. 2022, Elucidating the Design Space (EDM), arXiv:2206.00364"
_DDIM = "Song et al. 2021, Denoising Diffusion Implicit Models, arXiv:2010.02502"
_RF = "Liu et al. 2022, Rectified Flow, arXiv:2209.03003"
_LCM = "Luo et al. 2023, Latent Consistency Models, arXiv:2310.04378"
_CROWSON = "Crowson 2022, k-diffusion"

SOLVERS: dict[str, Solver] = {
    "DDIM": Solver("DDIM", _DDIM, _TABLE, {"eta": (_ETA, 0.0)}, ("eta",)),
    "DEISMultistep": Solver(
        "DEIS, log-rho multistep",
        "Zhang & Chen 2023, arXiv:2204.13902",
        _VP,
        {"solver_order": (Order, 2), "lower_order_final": (Switch, True)},
        above_zero=_always,
    ),
    "DPMSolverMultistep": Solver("DPM-Solver++ multistep", _PP, _VP, _DPM | _FINAL),
    "DPMSolverSinglestep": Solver("DPM-Solver++ singlestep", _PP, _SINGLE, _DPM),
    "EDMDPMSolverMultistep": Solver("DPM-Solver++ multistep, EDM's form", _PP, _EDM, _DPM | _FINAL),
    "EDMEuler": Solver("Euler, EDM's form", _KARRAS, _EDM, top=ALL_NOISE),
    "Euler": Solver("Euler", _KARRAS, _VE, top=ALL_NOISE),
    "EulerAncestral": Solver("Euler ancestral", _CROWSON, _VE_EPS, top=ALL_NOISE),
    "FlowMatchEuler": Solver(
        "Euler, a flow's form",
        _RF,
        _FLOW,
        {"stochastic_sampling": (Switch, False)},
    ),
    "FlowMatchHeun": Solver("Heun in a flow's time", _RF, _FLOW_HEUN),
    "FlowMatchLCM": Solver("LCM, a flow's form", _LCM, _FLOW),
    "Heun": Solver("Heun", _KARRAS, _HEUN, top=ALL_NOISE),
    "KDPM2": Solver("DPM-Solver-2", _CROWSON, _MIDDLE, top=ALL_NOISE),
    "KDPM2Ancestral": Solver("DPM-Solver-2 ancestral", _CROWSON, _MIDDLE_A, top=ALL_NOISE),
    "LCM": Solver(
        "LCM",
        _LCM,
        _TIMES,
        {"timestep_scaling": (Annotated[float, Field(gt=0)], 10.0)},
        spacing="lcm",
    ),
    "LMS": Solver(
        "Linear multistep", _CROWSON, _VE, {"order": (Literal[1, 2, 3, 4], 4)}, ("order",)
    ),
    "SASolver": Solver(
        "SA-Solver",
        "Xue et al. 2023, SA-Solver, arXiv:2309.05019",
        _BY_LEVEL,
        {
            "predictor_order": (Order, 2),
            "corrector_order": (Order, 2),
            "algorithm_type": (Literal["data_prediction", "noise_prediction"], "data_prediction"),
            "tau": (NotNegative, 1.0),
            "tau_range": (Levels, [0.57, 5.12]),  # the class's own times 200 to 800
        },
        above_zero=_always,
    ),
    "TCD": Solver(
        "TCD",
        "Zheng et al. 2024, Trajectory Consistency Distillation, arXiv:2402.19159",
        _TIMES,
        {"eta": (_ETA, 0.3)},
        ("eta",),
        spacing="lcm",
    ),
    "UniPCMultistep": Solver(
        "UniPC",
        "Zhao et al. 2023, UniPC, arXiv:2302.04867",
        _VP,
        {
            "solver_order": (Order, 2),
            "solver_type": (Literal["bh1", "bh2"], "bh2"),
            "predict_x0": (Switch, True),
            "lower_order_final": (Switch, True),
            "disable_corrector": (list[Annotated[int, Field(ge=0)]], []),
        },
        above_zero=lambda o: (
            o["solver_type"] == "bh1" or not (o["predict_x0"] and o["lower_order_final"])
        ),
    ),
}
"""What may be used, by the class's name without Scheduler."""

SHORT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "deis": ("DEISMultistep", "DEIS", {}),
    "dpm2": ("KDPM2", "DPM2", {}),
    "dpm2_ancestral": ("KDPM2Ancestral", "DPM2 ancestral", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistep", "DPM++ 2M SDE", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2s": ("DPMSolverSinglestep", "DPM++ 2S", {"solver_order": 2}),
    "dpmpp_3m": ("DPMSolverMultistep", "DPM++ 3M", {"solver_order": 3}),
    "dpmpp_3m_sde": (
        "DPMSolverMultistep",
        "DPM++ 3M SDE",
        {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"},
    ),
    "dpmpp_3s": ("DPMSolverSinglestep", "DPM++ 3S", {"solver_order": 3}),
    "dpmpp_sde": ("DPMSolverSinglestep", "DPM++ SDE", {"algorithm_type": "sde-dpmsolver++"}),
    "flow_heun": ("FlowMatchHeun", "Heun in a flow's time", {}),
    "lcm": ("LCM", "LCM", {}),
    "lms": ("LMS", "Linear multistep", {}),
    "sa_solver": ("SASolver", "SA-Solver", {}),
    "tcd": ("TCD", "TCD", {}),
    "unipc_3": ("UniPCMultistep", "UniPC of order 3", {"solver_order": 3}),
    "unipc_bh1": ("UniPCMultistep", "UniPC with B(h) = h", {"solver_type": "bh1"}),
}
"""Short names: the class, a title, and the options that the name stands for."""

_INVERSE = "it leads from a picture to noise, and makes none"
_OWN_LADDER = "its steps hold on its own ladder only"
_BROWNIAN = "its Brownian tree is no image's own noise: take dpmpp_sde or dpmpp_2m_sde"
_TOKENS = "it is for networks of discrete tokens"
_ONE_PIPELINE = "its steps are those of one pipeline's own network"
REFUSED = {
    **dict.fromkeys(
        ("Amused", "BlockRefinement", "DiscreteDDIM", "EntropyBound", "VQDiffusion"), _TOKENS
    ),
    **dict.fromkeys(
        [
            "CogVideoXDDIM",
            "CogVideoXDPM",
            "DDPMWuerstchen",
            "Helios",
            "HeliosDMD",
            "LTXEulerAncestralRF",
            "MiniMaxH3",
            "Piflow",
            "RFD4Proteina",
            "SCM",
        ],
        _ONE_PIPELINE,
    ),
    "CMStochasticIterative": "it is for consistency models, of which no family is known here",
    "CosineDPMSolverMultistep": _BROWNIAN,
    "DDIMInverse": _INVERSE,
    "DDIMParallel": "diffusers:DDIM takes the same steps",
    "DDPM": "ddpm takes the same steps",
    "DDPMParallel": "ddpm takes the same steps",
    "DPMSolverMultistepInverse": _INVERSE,
    "DPMSolverSDE": _BROWNIAN,
    "FlowMapEuler": "its networks are told two times; diffusers:FlowMatchEuler takes its steps",
    "IPNDM": f"{_OWN_LADDER}: take lms",
    "KarrasVe": "edm is its sampler",
    "PNDM": f"{_OWN_LADDER}, after Runge-Kutta ones: take lms",
    "RePaint": "it fills in parts of a given picture",
    "ScoreSdeVe": _OWN_LADDER,
    "ScoreSdeVp": _OWN_LADDER,
    "UnCLIP": "ddpm takes its steps",
}
"""What is not, and why."""


def scheduler_name(name: str) -> str:
    """A sampler's name as it is registered: `diffusers:UniPCMultistepScheduler` is without its end.

    Raises HarnessError for a class that is refused, unknown, or not named.
    """
    if name.partition(":")[0] != "diffusers":
        return name
    asked = name.partition(":")[2].removesuffix("Scheduler").removesuffix("Discrete")
    if asked in SOLVERS:
        return PREFIX + asked
    if not asked:
        known = ", ".join(SOLVERS)
        raise HarnessError(f"diffusers(NAME, steps=20): name a scheduler, one of {known}")
    if asked in REFUSED:
        raise HarnessError(f"diffusers({asked}) is refused: {REFUSED[asked]}")
    raise unknown("scheduler of diffusers", asked, SOLVERS)


def make_scheduler(name: str, sigmas: torch.Tensor, options: dict[str, Any]) -> Any:
    """A scheduler of diffusers, as yet on no ladder of ours."""
    import diffusers

    suffix = "Scheduler" if hasattr(diffusers, f"{name}Scheduler") else "DiscreteScheduler"
    kind = getattr(diffusers, name + suffix)
    solver, config = SOLVERS[name], dict(options)
    if name == "SASolver":
        tau, (low, high) = config.pop("tau"), config.pop("tau_range")
    if solver.form.prediction:
        config |= {"prediction_type": solver.form.prediction}
    if "DPMSolver" in name:
        config |= {"final_sigmas_type": "zero" if sigmas[-1] == 0 else "sigma_min"}
    if name == "DPMSolverSinglestep":
        config |= {"lower_order_final": True}  # else it takes multiples of its order only
    if name == "DDIM":
        config |= {"clip_sample": False}
    # its own ladder is never used: the smallest one, which is made fastest
    scheduler = kind(num_train_timesteps=max(len(sigmas) - 1, 2), **config)
    if name == "SASolver":
        scheduler.tau_func = lambda s: tau if low <= s <= high else 0.0
    return scheduler


def solve(
    name: str,
    start: tuple[Denoise, torch.Tensor, torch.Tensor, Noise],
    clock: Clock,
    guidance: float,
    options: dict[str, Any],
) -> torch.Tensor:
    """The state at the last level of the ladder by the scheduler `name`."""
    solver = SOLVERS[name]
    sigmas = start[2]
    if sigmas[0] > solver.top:
        raise HarnessError(
            f"diffusers:{name} begins at sigma {solver.top:g} at most, this ladder at "
            f"{float(sigmas[0]):g}: it steps along slopes in sigma, with float32 rounding or an "
            "error of D times sigma. Give a sigma_max, or take diffusers:FlowMatchEuler, unipc or "
            "dpmpp_2m"
        )
    config = {key: value for key, value in options.items() if key not in solver.told}
    told = {key: options[key] for key in solver.told}
    told["ends_by_euler"] = bool(sigmas[-1] == 0) and solver.above_zero(options)
    scheduler = make_scheduler(name, sigmas, config)
    return run_scheduler(scheduler, solver.form, start, clock, guidance, **told)


def _check(name: str, params: dict[str, Any]) -> None:
    if name == "EDMDPMSolverMultistep" and _sde(params) and params["solver_order"] == 3:
        raise HarnessError(
            "diffusers:EDMDPMSolverMultistep has no stochastic steps of order 3: take dpmpp_3m_sde"
        )
    if name == "SASolver" and params["tau_range"][0] > params["tau_range"][1]:
        raise HarnessError(f"tau_range={params['tau_range']}: the smaller sigma comes first")


def _register(name: str, kind: str, title: str, fixed: dict[str, Any]) -> None:
    solver = SOLVERS[kind]

    def run(
        denoise: Denoise,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        noise: Noise,
        *,
        clock: Clock,
        guidance: float = 5.0,
        **options: Any,
    ) -> torch.Tensor:
        return solve(kind, (denoise, x, sigmas, noise), clock, guidance, {**fixed, **options})

    def complete(params: dict[str, Any]) -> dict[str, Any]:
        if solver.spacing is None or "sigmas" in params:
            return params
        return {"spacing": solver.spacing, **params}

    own = {"guidance": (float, 5.0)}
    own |= {key: about for key, about in solver.options.items() if key not in fixed}
    entry = Sampler(
        name,
        title,
        f"{solver.paper}, as {kind} of diffusers",
        run,
        LADDER_NAMES,
        lambda params: _check(kind, {**fixed, **params}),
        complete,
        lambda params: {},
        own,
        ("clock",),
    )
    SAMPLERS.add(name, entry, run)


for _kind, _solver in SOLVERS.items():
    _register(PREFIX + _kind, _kind, f"{_solver.title} of diffusers", {})
for _short, (_kind, _title, _fixed) in SHORT.items():
    _register(_short, _kind, _title, _fixed)

"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli.skin import note

SAMPLER_HELP = (
    "NAME or NAME(parameter=value, ...); ./FILE.py:FUNCTION for one of your own. Left out, steps "
    "and guidance are a benchmark's, else the model's, else its own."
)

Model = Annotated[
    str,
    typer.Option(
        help="Name (harness list models), hub id or diffusers folder; NAME(setting=value)."
    ),
]
Guide = Annotated[
    str | None,
    typer.Option(help="Second model that guidance leads away from (autoguidance, unconditional)."),
]
Prompts = Annotated[
    str | None,
    typer.Option(help="Prompt set by name, or a file; default: shapes, or none for classes."),
]
Column = Annotated[str | None, typer.Option(help="The column of the file that holds the prompts.")]
ImagePrompts = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        help="Of images that are no run: a table with the columns file,prompt,seed, or a prompt "
        "set or file in the images' order, one each.",
    ),
]
ImageColumn = Annotated[
    str | None, typer.Option(help="The column of a Parquet that holds the images.")
]
PromptsFolder = Annotated[
    str | None, typer.Option(help="Take a named prompt set's files from here, not the network.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many prompts.")]
Split = Annotated[
    str | None,
    typer.Option(help="dev (a quarter of the prompts, for tuning) or test; default: all."),
]


def _one_seed(text: str | None) -> str | None:
    """Say what a single number means, as it may be taken for how many."""
    if text and text.isdigit() and (count := int(text)):
        several = f"{count} seeds are 0-{count - 1}" if count > 1 else "the first is 0"
        note(f"--seeds {text} is seed {text} alone; {several}")
    return text


def _seeds(more: str = "") -> Any:
    return typer.Option(
        "--seeds", help=f"Which: 0-3 (four of them), or 0,2,5-8{more}.", callback=_one_seed
    )


Seeds = Annotated[str, _seeds()]
Size = Annotated[str | None, typer.Option(help="HxW in pixels; default: the model's own.")]
Dtype = Annotated[
    str | None, typer.Option(help="float32, float16, bfloat16 or float64; default: by device.")
]
DecodeDtype = Annotated[
    str | None,
    typer.Option(
        help="The decoder's precision: float32, float16 or bfloat16; default: the checkpoint's."
    ),
]
NoiseKey = Annotated[
    str | None,
    typer.Option(
        help="What noise depends on beside the seed: prompt, seed (nothing), index; default: "
        "prompt, and seed for models without text."
    ),
]
Negative = Annotated[
    str | None,
    typer.Option(help='Negative prompt; absent and "" differ, as the checkpoint has it.'),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:N, xpu or mps; default: a GPU if any.")
]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads of each process.")]
BatchSize = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Images at once, or auto; default: auto, on a GPU by its memory, else the model's.",
    ),
]
Tf32 = Annotated[
    bool,
    typer.Option("--tf32", help="Let a GPU round float32 to 11 bits, as PyTorch does by default."),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Compile the network by torch.compile; last bits change."),
]
Copies = Annotated[
    int | None, typer.Option(min=1, help="Processes to start here, without a launcher; default: 1.")
]
Part = Annotated[
    str | None,
    typer.Option("--shard", help="i/n: only this part, for machines without a common launcher."),
]
Claim = Annotated[
    bool,
    typer.Option(
        "--claim",
        help="Share the work with other such processes on the same --out, or --results.",
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Print all tables and sentences."),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Make and download nothing: say what would be made, what time and room it takes, and "
        "what is missing here (exit code 1 if anything is).",
    ),
]
Match = Annotated[str, typer.Option(help="What equal cost is equal in: macs, nfe or seconds.")]
MatchGuidance = Annotated[
    str,
    typer.Option(
        help="How guidance is equal: constant (the candidate's mean scale), schedule (step by "
        "step), per_image (each image's own), ga_eval (per image, as arXiv:2602.22570 estimates "
        "it)."
    ),
]
Curve = Annotated[
    str,
    typer.Option(
        help="The baseline's guidance weights at matched cost: 'auto', 'none' or 1,2,4,8."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes at most, as many as repay being started; default: one a GPU, else one a "
        "core.",
    ),
]
Track = Annotated[
    str | None,
    typer.Option(help="Progress and final tables also to tensorboard, wandb or mlflow."),
]
LogFolder = Annotated[
    str | None,
    typer.Option(
        help="Folder for a log of each process; default: of several, logs/ beside what they make."
    ),
]


SHARED = {
    "model": Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Name (harness list models), hub id or diffusers folder; default: the "
            "benchmark's, else shapes.",
        ),
    ],
    "bench": Annotated[
        str | None,
        typer.Option(
            "--bench",
            help="Benchmark by name (harness list benchmarks), or a YAML file; default: the "
            "model's own, else drawbench.",
        ),
    ],
    "baseline": Annotated[
        str | None, typer.Option(help="Sampler to beat; default: the benchmark's, mostly ddim.")
    ],
    "guide": Guide,
    "seeds": Annotated[str | None, _seeds("; default: the benchmark's")],
    "tiny": Annotated[
        bool, typer.Option("--tiny", help="The benchmark's small cut, for any machine.")
    ],
    "prompts": Annotated[
        str | None,
        typer.Option("--prompts", help="Prompt set by name, or a file; default: the benchmark's."),
    ],
    "metrics": Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help="Comma-separated, the first is the headline; default: the benchmark's.",
        ),
    ],
    "split": Split,
    "limit": Annotated[
        int | None,
        typer.Option(min=1, help="Only the first so many prompts; default: the benchmark's."),
    ],
    "column": Column,
    "prompts_folder": PromptsFolder,
    "match": Match,
    "match_guidance": MatchGuidance,
    "curve": Curve,
    "results": Annotated[str, typer.Option(help="Root of the results.")],
    "size": Size,
    "dtype": Dtype,
    "decode_dtype": DecodeDtype,
    "device": Device,
    "threads": Threads,
    "batch_size": BatchSize,
    "tf32": Tf32,
    "compile": Compile,
    "workers": Workers,
    "track": Track,
    "log_folder": LogFolder,
}
"""The fields of experiments.options.Options as options of the command line."""

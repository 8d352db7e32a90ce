"""``python -m protocol_gen --env-config=ENV [flags] with key=value ...``: designs a bundle."""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Sequence
from pathlib import Path

from epymarl_lmac.awareness.decoder import FORMS
from epymarl_lmac.errors import SettingsError
from protocol_gen.designers import MODEL, TEMPERATURE, Designer, ManualDesigner, OpenAiDesigner, ReplayDesigner
from protocol_gen.options import Options
from protocol_gen.score import METRICS

DESIGNERS = ("openai", "manual", "replay")


def _default(flag: str, value: str) -> str:
    """Returns the default of a designer's flag: PROTOCOL_GEN_<FLAG> if it is set."""
    return os.environ.get(f"PROTOCOL_GEN_{flag.upper()}", value)


def _add_data_flags(p: argparse.ArgumentParser) -> None:
    """Adds what says where episodes come from."""
    data = p.add_argument_group("data")
    data.add_argument("--episodes", type=int, help="training episodes")
    data.add_argument("--heldout", type=int, help="held-out episodes")
    data.add_argument("--train-steps", type=int, help="steps of the QMIX run (default: a tenth of the env's t_max)")
    data.add_argument("--from-record", metavar="RUN", help="let the networks of a recorded run play instead")
    data.add_argument("--buffer", metavar="FILE", help="use a trajectory file instead of collecting")
    data.add_argument("--card", metavar="FILE", help="YAML task card of your own")
    data.add_argument("--seed", type=int, help="of the collection")


def _add_design_flags(p: argparse.ArgumentParser) -> None:
    """Adds what says how protocols are asked for and kept."""
    design = p.add_argument_group("design")
    design.add_argument("--important", help="names or globs of state columns to reconstruct, instead of asking")
    design.add_argument("--history", type=int, help="steps the last protocol sees")
    design.add_argument("--max-message-dim", type=int, help="most numbers a receiver may get a step and protocol")
    design.add_argument("--candidates", type=int, help="protocols asked for at each step; the best is kept")
    design.add_argument("--max-attempts", type=int, help="answers that may be refused before the tool stops")
    design.add_argument("--min-gain", type=float, help="least confirmed gain of a step's score, else it is left out")
    design.add_argument("--ship-all", action="store_true", help="ship steps that gained nothing confirmed, too")
    design.add_argument("--out", help="bundle folder (default protocols/<env>/<task>/default)")
    design.add_argument("--report", help="page to write (default report.html in the work folder)")


def _add_measurement_flags(p: argparse.ArgumentParser) -> None:
    """Adds what says how decoders are trained and what chooses."""
    measure = p.add_argument_group("measurement")
    measure.add_argument("--decoder-form", choices=FORMS, help="with a linear layer from input to state, or without")
    measure.add_argument("--decoder-batches", type=int, help="batches of episodes a decoder learns from")
    measure.add_argument("--batch-episodes", type=int, help="episodes of a batch; fewer make a step cheaper")
    measure.add_argument("--steps-per-batch", type=int, help="gradient steps on each")
    measure.add_argument("--decoder-lr", type=float, help="learning rate of decoders")
    measure.add_argument("--decoder-seeds", type=int, help="decoders of each kind, at least 3")
    measure.add_argument("--tolerance", type=float, help="squared error that counts as success")
    measure.add_argument(
        "--ceiling-episodes", type=int, help="episodes on which single agents' knowledge is computed; 0: no ceiling"
    )
    measure.add_argument("--sai-metric", metavar="{" + ",".join(METRICS) + "}", help="what chooses between candidates")


def _fill_defaults(p: argparse.ArgumentParser) -> None:
    """Gives every flag of ``Options`` the default that it has there, and says so in its help."""
    defaults = Options("", [])
    for action in p._actions:
        if action.default is None and hasattr(defaults, action.dest) and getattr(defaults, action.dest) is not None:
            action.default = getattr(defaults, action.dest)
            action.help = f"{action.help} (default {action.default!r})"


def _add_designer_flags(p: argparse.ArgumentParser) -> None:
    """Adds what says whom to ask."""
    who = p.add_argument_group("designer", "Each default can also be set in the environment, e.g. PROTOCOL_GEN_MODEL.")
    who.add_argument("--designer", choices=DESIGNERS, default=_default("designer", "openai"))
    who.add_argument("--model", default=_default("model", MODEL))
    who.add_argument("--base-url", help="any endpoint that speaks chat completions (or OPENAI_BASE_URL)")
    who.add_argument("--api-key", help="the key; better left to the environment")
    who.add_argument("--key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable that holds the key")
    who.add_argument(
        "--temperature", default=_default("temperature", str(TEMPERATURE)), help="a number, or none (reasoning models)"
    )
    who.add_argument("--max-tokens", type=int, help="longest answer")
    who.add_argument("--timeout", type=float, default=_default("timeout", "300"), help="of one request, seconds")
    who.add_argument(
        "--retries",
        type=int,
        default=_default("retries", "5"),
        help="requests repeated after rate limits and server errors",
    )
    who.add_argument("--wait", type=float, help="manual: seconds to wait for an answer (default: for ever)")
    who.add_argument("--replay", type=Path, metavar="FOLDER", help="recorded answers: a work folder, or .md files")
    who.add_argument("--prices", type=Path, metavar="FILE", help="price table, USD for a million tokens")


def parser() -> argparse.ArgumentParser:
    """Returns the command line of a design."""
    p = argparse.ArgumentParser(
        prog="python -m protocol_gen",
        description="Designs a protocol bundle: collects data, asks a designer, checks, measures and feeds back.",
        epilog="Settings of the task follow `with`, e.g. `with env_args.players=6`. "
        "`python -m protocol_gen build` and `measure` work on texts and bundles that exist.",
    )
    p.add_argument("--env-config", required=True, metavar="ENV", help="environment, a file in config/envs")
    p.add_argument("--work", type=Path, help="work folder (default results/protocol_gen/<env>/<task>)")
    p.add_argument("--print-prompts", action="store_true", help="print every prompt and leave")
    p.add_argument("--dry-run", action="store_true", help="forecast calls, tokens and cost, and leave")
    _add_data_flags(p)
    _add_design_flags(p)
    _add_measurement_flags(p)
    _fill_defaults(p)
    _add_designer_flags(p)
    return p


def designer_of(flags: argparse.Namespace) -> Designer:
    """Returns the designer that the flags ask for.

    Raises:
        SettingsError: flags that do not fit.
        DesignerError: no key, or no such folder.
    """
    if flags.designer == "replay" or (flags.replay is not None and flags.designer == "openai"):
        if flags.replay is None:
            raise SettingsError("--designer replay needs --replay FOLDER.", "--replay")
        return ReplayDesigner(flags.replay)
    if flags.designer == "manual":
        return ManualDesigner(flags.wait)
    temperature = None
    if flags.temperature.lower() != "none":
        try:
            temperature = float(flags.temperature)
        except ValueError as err:
            raise SettingsError(
                f"--temperature={flags.temperature} is no number and not none.", "--temperature"
            ) from err
    return OpenAiDesigner(
        model=flags.model,
        base_url=flags.base_url,
        api_key=flags.api_key or os.environ.get(flags.key_env),
        temperature=temperature,
        max_tokens=flags.max_tokens,
        timeout_s=flags.timeout,
        max_retries=flags.retries,
    )


def execute(argv: Sequence[str], updates: Sequence[str]) -> int:
    """Designs a bundle as the command line says; returns the exit code."""
    from protocol_gen.ledger import read_prices

    flags = parser().parse_args(argv)
    values = {name: getattr(flags, name) for name in Options.__dataclass_fields__ if hasattr(flags, name)}
    options = Options(
        **{**values, "env": flags.env_config, "updates": list(updates), "important": flags.important or ""}
    )
    options.check()
    prices = read_prices(flags.prices)
    if flags.print_prompts or flags.dry_run:
        from protocol_gen.forecast import forecast, printed_prompts

        print(printed_prompts(options) if flags.print_prompts else forecast(options, flags.model, prices))
        return 0
    import torch

    from protocol_gen.acting_cost import describe_cost
    from protocol_gen.pipeline import Design, card_of
    from protocol_gen.report import write_report
    from protocol_gen.results import summary

    card, _ = card_of(options)
    work = flags.work or Path("results") / "protocol_gen" / card.env / card.task
    print(f"work folder: {work}", flush=True)
    began = time.perf_counter()
    n_processes = torch.get_num_threads()  # all cores, or OMP_NUM_THREADS
    watch = functools.partial(print, flush=True)
    design = Design(options, work, designer_of(flags), prices, watch=watch, n_processes=n_processes)
    bundle = design.run()
    page = write_report(design, bundle, Path(options.report) if options.report else work / "report.html")
    print(summary(work))
    print(f"\n{design.ledger.table()}\n")
    print(describe_cost(bundle.steps, bundle.programs))
    print(f"bundle: {bundle.path}\nreport: {page}\ntime of this call: {time.perf_counter() - began:.0f} s")
    return 0

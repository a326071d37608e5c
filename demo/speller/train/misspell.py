"""Names, what people type for them, and which names are held out of training."""

import json
import pathlib
import random
import unicodedata

# Letters that Unicode does not decompose, as people type them.
PLAIN = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th",
         "ħ": "h", "ı": "i", "ə": "e", "’": "'", "‘": "'", "ʻ": "'", "-": " ", "–": " "}


def fold(text):
    """Letters as a keyboard without accents has them; runs of spaces count as one."""
    bare = (c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c)[0] != "M")
    return " ".join("".join(PLAIN.get(c, c) for c in "".join(bare).lower()).split())


def held_out(name):
    """FNV-1a, 32 bits, over the UTF-8 bytes of the folded name; one in fifty."""
    value = 0x811C9DC5
    for byte in fold(name).encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value % 50 == 0


def load_names(path):
    rows = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    return sorted({unicodedata.normalize("NFC", row["name"]) for row in rows} - {""})


# Accented letters as people write them out.
WRITTEN_OUT = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "š": "sh", "ş": "sh",
               "ș": "sh", "č": "ch", "ç": "ch", "ć": "ch", "ž": "zh", "ğ": "gh", "ñ": "ny",
               "ń": "ny"}
# Letters and their neighbours on the keyboard.
ROWS = ["qwertyuiop", "asdfghjkl", "zxcvbnm"]
NEAR = {a: [b for s, other in enumerate(ROWS) for j, b in enumerate(other)
            if b != a and abs(r - s) <= 1 and abs(i + r / 2 - j - s / 2) <= 1]
        for r, row in enumerate(ROWS) for i, a in enumerate(row)}
# Spellings of like sounds; each pair goes both ways, unless it has one side only.
SOUNDS = [pair.split("/") for pair in """
    ph/f ck/k k/c c/s z/s s/sh sh/ch ch/k ch/tch sch/sh tsch/ch tz/z ts/z x/ks qu/kw w/v v/f v/b
    b/p d/t g/k q/k kh/k gh/g dh/d th/t bh/b rh/r j/y j/dj zh/j j/g h/ gn/ny ng/n m/n l/r ll/y
    ie/y ie/i ei/ai ay/ai ey/y y/i j/i ou/u oo/u ee/i ea/e au/o eau/o eu/oi ae/e oe/o ue/u aa/a
    ii/i uu/u ow/ov er/re sk/sc ski/sky burg/berg ville/vile saint/st sankt/st mount/mt
    fort/ft""".split()]
SOUNDS += [(b, a) for a, b in SOUNDS if b]
VOWELS = "aeiouy"


class Misspeller:
    """Makes what people may type for a name, already folded. Everything comes from one seed."""

    SLIPS = {"drop": 20, "twin": 14, "swap": 12, "vowel": 16, "sound": 30, "near": 12, "extra": 8,
             "space": 6}

    def __init__(self, seed):
        self.random = random.Random(seed)

    def __call__(self, name):
        choose = self.random.random
        if choose() < 0.15:
            name = "".join(WRITTEN_OUT.get(c, c) for c in name.lower())
        text = fold(name)
        length = len(text)
        most = 1 if length < 5 else 2 if length < 9 else 3
        slips = min(most, self.random.choices((0, 1, 2, 3), (10, 55, 27, 8))[0])
        kinds = self.random.choices(list(self.SLIPS), list(self.SLIPS.values()), k=slips + 6)
        for kind in kinds:
            if slips == 0:
                break
            worse = " ".join(getattr(self, kind)(text).split())
            if worse != text and len(worse) > 1:
                text, slips = worse, slips - 1
        return text

    def drop(self, s):
        i = self.random.randrange(len(s))
        return s[:i] + s[i + 1:]

    def twin(self, s):
        """Doubles a letter, or makes one of two."""
        twins = [i for i in range(1, len(s)) if s[i] == s[i - 1]]
        if twins and self.random.random() < 0.7:
            i = self.random.choice(twins)
            return s[:i] + s[i + 1:]
        i = self.random.randrange(len(s))
        return s[:i] + s[i] + s[i:]

    def swap(self, s):
        i = self.random.randrange(1, len(s)) if len(s) > 1 else 0
        return s[:i - 1] + s[i] + s[i - 1] + s[i + 1:] if i else s

    def vowel(self, s):
        places = [i for i, c in enumerate(s) if c in VOWELS]
        if not places:
            return s
        i = self.random.choice(places)
        return s[:i] + self.random.choice(VOWELS) + s[i + 1:]

    def sound(self, s):
        """Another spelling of the same or nearly the same sound."""
        fitting = [(a, b) for a, b in SOUNDS if a in s]
        if not fitting:
            return s
        a, b = self.random.choice(fitting)
        i = self.random.choice([i for i in range(len(s)) if s.startswith(a, i)])
        return s[:i] + b + s[i + len(a):]

    def near(self, s):
        """A neighbouring key."""
        i = self.random.randrange(len(s))
        return s[:i] + self.random.choice(NEAR.get(s[i], [s[i]])) + s[i + 1:]

    def extra(self, s):
        i = self.random.randrange(len(s))
        often = self.random.random() < 0.6
        keys = NEAR.get(s[i], "aeinrst") if often else "abcdefghijklmnopqrstuvwxyz"
        return s[:i] + self.random.choice(keys) + s[i:]

    def space(self, s):
        """Words joined, a word split, an apostrophe or the like lost."""
        signs = [i for i, c in enumerate(s) if not c.isalnum()]
        if signs and self.random.random() < 0.85:
            i = self.random.choice(signs)
            return s[:i] + s[i + 1:]
        i = self.random.randrange(len(s))
        return s[:i] + " " + s[i:]

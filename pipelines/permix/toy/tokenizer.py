"""The toy tokenizer, without learned parts: a token for each word and number of the world, bytes for all else."""

import re
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from permix.toy import corpus

PAD, END, SYSTEM, USER, ASSISTANT = SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
BOX = "\\boxed{"
WORD = r" ?[A-Za-z]+| ?[0-9]+| ?[-+*=]|\}\.|[.,:;!?]"
TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
"""It puts a space before every message, so that a word or number is the same token at its start and in its middle."""


def build() -> PreTrainedTokenizerFast:
    """Build the tokenizer, the same every time. Its chat template marks the assistant's text for SFT."""
    # Every message starts with a space, so nearly all words need their token with the space in front only.
    words = {word.replace(" ", "Ġ") for text in corpus.texts() for word in re.findall(WORD, f" {text}")}
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*SPECIAL, BOX, *letters, *sorted(words)]))}
    # A known word is one token (ignore_merges). Without merges, any other word becomes its bytes.
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], ignore_merges=True))
    by_word = pre_tokenizers.Split(Regex(rf"{WORD}|\s|."), "isolated")
    by_byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([by_word, by_byte])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(BOX, normalized=False)])
    sides = {"eos_token": END, "pad_token": PAD, "padding_side": "left", "clean_up_tokenization_spaces": False}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **sides)
    fast.chat_template = TEMPLATE
    return fast


def render(system: str, question: str) -> str:
    """Return the text before an answer, exactly as the chat template writes it; a test compares the two."""
    head = f"{SYSTEM} {system}{END}" if system else ""
    return f"{head}{USER} {question}{END}{ASSISTANT}"

"""What was seen of a prompt, and the bound of input tokens that follows from it.

The bound is never lower than what a byte-level tokenizer yields, at most one token for each byte of text:

- chat and responses: the bytes of the whole body, for every text of the prompt stands in it, escaped or
  plain; less the bytes of images, which are not read as text; and on top `IMAGE_TOKENS` an image,
  `MESSAGE_TOKENS` a message and `TEMPLATE_TOKENS` for what the model's template adds; tools once more,
  indented twice, for templates write them out that way;
- completions and embeddings: the bytes of each text, or the count of tokens given as numbers, and
  `MESSAGE_TOKENS` for each prompt.

Tokenizers that normalise text first (NFKC) can exceed it for a few exotic characters.
"""

IMAGE_TOKENS = 16_384
"""Most tokens an image takes: what the largest common encoders yield at their full resolution."""

MESSAGE_TOKENS = 16
"""What a template or tokenizer puts around one message or prompt (tokens)."""

TEMPLATE_TOKENS = 256
"""What a chat template puts before and after a conversation, such as a default system text (tokens)."""


class Seen:
    """What was seen while walking through messages.

    Attributes:
        images: number of images.
        image_bytes: bytes of their URLs.
        extra: bytes that templates may write out a second time (tool calls).
        tool_bytes: length of those names together, bytes.
        tools: names of the tools offered, in order.
    """

    __slots__ = ("extra", "image_bytes", "images", "tool_bytes", "tools")

    def __init__(self) -> None:
        self.images = 0
        self.image_bytes = 0
        self.extra = 0
        self.tool_bytes = 0
        self.tools: list[str] = []

    def token_bound(self, body_bytes: int, messages: int) -> int:
        """Return the bound of input tokens of a conversation."""
        return (
            body_bytes
            - self.image_bytes
            + self.extra
            + self.images * IMAGE_TOKENS
            + messages * MESSAGE_TOKENS
            + TEMPLATE_TOKENS
        )

"""harness: raise a vision-language model into a visual inspector, one DMAICS cycle at a time."""

__version__ = "0.1.0"

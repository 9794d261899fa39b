"""`python -m harness` is `harness`; accelerate launches it in this form."""

from harness.cli import main

if __name__ == "__main__":
    main()

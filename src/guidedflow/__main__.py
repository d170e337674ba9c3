"""`python -m guidedflow`, and the console script `guidedflow`.

A spawned worker imports this module again, so it imports nothing itself: the command line and JAX are loaded
by the process that runs `main`, and by no other. It does not know any command.
"""


def main() -> None:
    """Run the command line on `sys.argv`."""
    from guidedflow.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()

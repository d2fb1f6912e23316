"""`pop3-bridge settings`: the page that documents them."""

from argparse import Namespace

from bridge.cli.context import Context, Nouns, add_command
from bridge.settings.page import configuration_page


def add_parser(nouns: Nouns) -> None:
    add_command(nouns, "settings", "print every setting with its default and what it protects (Markdown)", _print)


def _print(context: Context, arguments: Namespace) -> int:
    print(configuration_page(), end="")
    return 0

"""What govctl prints stands there as it is: nobody's text becomes colour or a picture."""

from gateway.cli.output import errors, print_table, say

TRICKY = "ai-system:free [red]not red[/red] :warning:"


def test_texts_are_printed_as_they_are(capsys):
    say(TRICKY)
    print_table(["what"], [[TRICKY]], empty="nothing")
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [TRICKY, "what", TRICKY]


def test_errors_are_printed_as_they_are(capsys):
    errors.print(TRICKY, markup=False, soft_wrap=True)
    assert capsys.readouterr().err == f"{TRICKY}\n"

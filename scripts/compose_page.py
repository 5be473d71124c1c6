"""What the page's container shows, and to whom: its token's owner sees a run with its rounds, a stranger nothing."""

from __future__ import annotations

import json

from scripts.compose_project import Project, expect, say

_PRINT_SHOWN = """
import json, sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

run, status, number = sys.argv[1:]
token = Path("/tmp/page.token").read_text().strip()

def shown(path, **headers):
    try:
        with urlopen(Request(f"http://127.0.0.1:8600{path}", headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, ""

known = {"Authorization": f"Bearer {token}"}
told = shown(f"/runs/{run}", **known)
print(json.dumps({
    "what a stranger gets": shown(f"/runs/{run}")[0],
    "what who has the token gets": told[0],
    "whether the list names the run": f'href="/runs/{run}"' in shown("/", **known)[1],
    "whether its screen says how it is": f'class="mark {status}"' in told[1],
    "whether its screen lists the round": f"/rounds/{number}" in told[1],
    "what the round's own screen gets": shown(f"/runs/{run}/rounds/{number}", **known)[0],
}))
"""
_WANTED = {
    "what a stranger gets": 401,
    "what who has the token gets": 200,
    "whether the list names the run": True,
    "whether its screen says how it is": True,
    "whether its screen lists the round": True,
    "what the round's own screen gets": 200,
}


def check_page(project: Project, folder: str, status: str, round_number: int) -> None:
    """Have the page's container show a run, which has this status and has closed this round."""
    asked = ("exec", "--no-TTY", "page", "python", "-c", _PRINT_SHOWN, folder, status, str(round_number))
    shown = json.loads(project.compose(*asked))
    wrong = {what: shown.get(what) for what, wanted in _WANTED.items() if shown.get(what) != wanted}
    expect(not wrong, f"the page, of /runs/{folder}, which is {status}: {wrong}")
    say(f"the page shows /runs/{folder} as {status}, with round {round_number}, to nobody without the token")

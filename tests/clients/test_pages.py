"""The pages that commands leave behind, opened in a real browser: what an experiment came to, and a load simulated."""

import json
import os
import re
import shutil
import struct
import subprocess
import zlib

import pytest

from conftest import BINARY, ROOT

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="NO CHROMIUM: pages are not opened")

# The example's models without limits and without time.
FAST = "model_list:\n" + "".join(
    f"- {{model_name: {name}, litellm_params: {{model: simulated/{name}, tpm: 90000, input_cost_per_token: {price}, output_cost_per_token: {price}}}}}\n"
    for name, price in [("large", 0.000003), ("small", 0.000001), ("careful", 0.000004), ("open", 0.000002)]
)

# What is drawn outside of its chart, what is wider than the page, and what is empty.
LOOK = """<script>
const wrong = [];
if (document.documentElement.scrollWidth > window.innerWidth) wrong.push(`the page is ${document.documentElement.scrollWidth} wide`);
for (const chart of document.querySelectorAll('svg')) {
  const outer = chart.getBoundingClientRect();
  if (outer.width < 100 || outer.height < 50) wrong.push(`a chart of ${outer.width} x ${outer.height}`);
  for (const part of chart.querySelectorAll('text, rect, line, circle, polyline')) {
    const box = part.getBoundingClientRect();
    if (box.left < outer.left - 1 || box.right > outer.right + 1 || box.top < outer.top - 1 || box.bottom > outer.bottom + 1)
      wrong.push(`outside: ${part.outerHTML.slice(0, 120)}`);
  }
  const texts = [...chart.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  texts.forEach(([one, a], index) => texts.slice(index + 1).forEach(([other, b]) => {
    if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) wrong.push(`${one} over ${other}`);
  }));
}
const told = {wrong, charts: document.querySelectorAll('svg').length, rows: document.querySelectorAll('tr').length};
document.title = 'LOOKED ' + JSON.stringify(told);
</script>"""


def witgate(folder, *arguments):
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    done = subprocess.run([BINARY, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def opened(page, *arguments):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1600"]
    own = f"--user-data-dir={page.parent / 'browser'}"
    done = subprocess.run([BROWSER, *flags, own, *arguments, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def looked_at(page):
    """What the browser says of the layout of a page."""
    assert "http" not in page.read_text().replace("http://www.w3.org", ""), "it needs a network"
    copy = page.with_name("looked-at.html")
    copy.write_text(page.read_text().replace("</body>", LOOK + "</body>"))
    told = re.search(r"<title>LOOKED (.*?)</title>", opened(copy, "--dump-dom"))
    assert told, "the browser has no such page"
    return json.loads(told[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def colours(path):
    """Of a PNG as Chromium writes it (8 bits a channel, not interlaced), how often each colour is there."""
    data, at, body = path.read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, form, _, _, laced = struct.unpack(">IIBBBBB", chunk)
            channels = {2: 3, 6: 4}[form]
            assert (depth, laced) == (8, 0)
        elif kind == b"IDAT":
            body += chunk
        at += 12 + length
    raw, stride, above, seen = zlib.decompress(body), width * channels, bytearray(width * channels), {}
    for row in range(height):
        start = row * (stride + 1)
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for x in range(stride):
            left = line[x - channels] if x >= channels else 0
            up, corner = above[x], above[x - channels] if x >= channels else 0
            if kind == 1:
                line[x] = (line[x] + left) & 255
            elif kind == 2:
                line[x] = (line[x] + up) & 255
            elif kind == 3:
                line[x] = (line[x] + (left + up) // 2) & 255
            elif kind == 4:
                guess = left + up - corner
                near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))
                line[x] = (line[x] + near[2]) & 255
        for x in range(0, stride, channels):
            colour = bytes(line[x : x + 3])
            seen[colour] = seen.get(colour, 0) + 1
        above = line
    return seen


def drawn(page):
    """How many pixels are a bar's, and how many a limit's."""
    picture = page.with_name("page.png")
    opened(page, f"--screenshot={picture}")
    seen = colours(picture)
    return seen.get(bytes.fromhex("3a6ea5"), 0), seen.get(bytes.fromhex("b3261e"), 0)


def test_the_report_of_an_experiment(tmp_path):
    (tmp_path / "fast.yaml").write_text(FAST)
    witgate(tmp_path, "run", str(ROOT / "examples/experiments/speeches.yaml"), "--config", "fast.yaml", "--output", "out")
    page = tmp_path / "out/report.html"
    told = looked_at(page)
    # Cost against quality, and the minutes of each of four models.
    assert (told["wrong"], told["charts"]) == ([], 5)
    assert told["rows"] >= 10
    bars, limits = drawn(page)
    assert bars > 1000 and limits > 50, (bars, limits)


def test_a_load_that_was_simulated(tmp_path):
    page = tmp_path / "compare.html"
    configs = [word for name in ("one-key-tpm", "multi-key-tpm") for word in ("--config", str(ROOT / f"examples/{name}.yaml"))]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    asked = [BINARY, "simulate", *configs, "--load", str(ROOT / "examples/load.jsonl"), "--html", str(page)]
    done = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    told = looked_at(page)
    # The times, and the minutes of two groups of two contenders.
    assert (told["wrong"], told["charts"]) == ([], 5)
    bars, limits = drawn(page)
    assert bars > 1000 and limits > 50, (bars, limits)

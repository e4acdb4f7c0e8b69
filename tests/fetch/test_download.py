"""Public files: folder, cache, download, checksum. A local server stands for the public home."""

import http.server
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from hashlib import sha256

import pytest

from harness.core.errors import HarnessError
from harness.fetch.download import PublicFile, cache_root
from harness.fetch.weights import find_checkpoint
from harness.prompts.base import PromptSource, load_prompts
from harness.prompts.columns import build_prompts
from harness.prompts.readers import read_rows

BODY = b"prompt,category\none,a\ntwo,b\n"


class _Home(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.encodings.append(self.headers["Accept-Encoding"])
        if self.path.startswith("/slow"):
            time.sleep(0.5)
        if self.path.startswith("/missing"):
            return self.send_error(404)
        body = self.server.files[self.path.lstrip("/")]
        self.send_response(200)
        size = len(body) + (50 if self.path.startswith("/short") else 0)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def home():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Home)
    server.asked, server.encodings = [], []
    server.files = {"p.csv": BODY, "short.csv": BODY, "slow.pkl": b"weights"}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


def source(url, *, prompts=2, digest="", **options):
    file = PublicFile("prompts/home", url, "p.csv", **options)

    def parse(files):
        return build_prompts(read_rows(files["p.csv"], "p.csv"), name="p.csv", stem="t")

    return PromptSource("t", "", url, "", "", prompts, 2, parse, (file,), digest)


def test_a_download_is_kept_with_its_sum_and_not_repeated(home, root):
    one = source(f"{home.url}/p.csv")
    assert one.location == "not downloaded"
    first = one.load()
    assert [p.text for p in first.prompts] == ["one", "two"]
    kept = root / "prompts" / "home"
    assert sorted(p.name for p in kept.iterdir()) == ["p.csv", "p.csv.sha256"]
    assert (kept / "p.csv.sha256").read_text() == f"{sha256(BODY).hexdigest()}  p.csv\n"
    assert one.location == str(kept)
    assert one.load(download=False) == first
    assert home.asked == ["/p.csv"]


def test_a_changed_file_is_refused_until_deleted_or_accepted(home, root):
    one = source(f"{home.url}/p.csv")
    one.load()
    path = root / "prompts" / "home" / "p.csv"
    path.write_bytes(BODY.replace(b"two", b"zwei"))
    with pytest.raises(HarnessError, match=r"has changed since it was kept"):
        one.load()
    path.with_name("p.csv.sha256").unlink()
    assert one.load().prompts[1].text == "zwei"
    path.unlink()
    assert one.load().prompts[1].text == "two"
    assert one.load().prompts[1].text == "two"


def test_a_file_put_there_by_hand_is_taken(root):
    path = root / "prompts" / "home" / "p.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    one = source("http://127.0.0.1:1/p.csv")
    assert len(one.load().prompts) == 2
    path.write_bytes(BODY + b"three,c\n")
    with pytest.raises(HarnessError, match=r"has changed"):
        one.load()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing.csv", "HTTP Error 404: Not Found"),
        ("short.csv", r"ended after 28 of 78 bytes|IncompleteRead\(28"),
    ],
)
def test_a_failed_download_leaves_nothing(home, root, path, reason):
    with pytest.raises(HarnessError, match=rf"cannot download http.*{path}: .*({reason})"):
        source(f"{home.url}/{path}").load()
    assert not root.exists()


def test_another_file_than_the_published_one_is_not_kept(home, root):
    home.files["p.csv"] = b"<html>\n<body>please log in</body>\n</html>"
    with pytest.raises(HarnessError, match=r"prompt set 't' from http.*p\.csv: .*no column"):
        source(f"{home.url}/p.csv").load()
    home.files["p.csv"] = BODY
    with pytest.raises(HarnessError, match=r"has 3 prompts, but .* holds 2"):
        source(f"{home.url}/p.csv", prompts=3).load()
    assert not root.exists()


def test_without_a_network_the_message_says_where_to_put_the_file(root):
    with socket.socket() as taken:  # bound, not listening: refuses at once
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/p.csv"
        with pytest.raises(HarnessError) as caught:
            source(url).load()
    message = str(caught.value)
    for part in (url, "--prompts-folder DIR", str(root / "prompts" / "home" / "p.csv"), "refused"):
        assert part in message
    assert "\n" not in message


def test_downloads_can_be_off(home):
    with pytest.raises(HarnessError, match=r"downloads are off: get it from http"):
        source(f"{home.url}/p.csv").load(download=False)
    assert home.asked == []


def test_a_folder_goes_before_cache_and_network(home, root, tmp_path):
    one = source(f"{home.url}/p.csv", aliases=("other.csv",))
    folder = tmp_path / "mine"
    (folder / "home").mkdir(parents=True)
    with pytest.raises(HarnessError, match=r"mine does not hold p\.csv or other\.csv"):
        one.load(str(folder))
    (folder / "home" / "p.csv").write_bytes(BODY)
    assert one.load(str(folder)).prompts[0].text == "one"
    (folder / "other.csv").write_bytes(BODY.replace(b"one", b"eins"))
    assert one.load(str(folder)).prompts[0].text == "eins"
    with pytest.raises(HarnessError, match=r"there is no folder"):
        one.load(str(tmp_path / "nowhere"))
    assert home.asked == []
    assert not root.exists()


def test_a_member_of_an_archive_is_kept_alone(home, root, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("deep/p.csv", BODY)
        archive.writestr("deep/other", b"x" * 1000)
    home.files["all.zip"] = (tmp_path / "all.zip").read_bytes()
    assert len(source(f"{home.url}/all.zip", member="deep/p.csv").load().prompts) == 2
    assert (root / "prompts" / "home" / "p.csv").read_bytes() == BODY
    (root / "prompts" / "home" / "p.csv").unlink()
    with pytest.raises(HarnessError, match=r"no deep/q.csv in the archive"):
        source(f"{home.url}/all.zip", member="deep/q.csv").load()
    with pytest.raises(HarnessError, match=r"no p.csv in the archive"):
        source(f"{home.url}/p.csv", member="p.csv").load()


def test_another_identity_is_a_warning(home, caplog):
    right = source(f"{home.url}/p.csv").load().sha256
    with caplog.at_level(logging.WARNING):
        source(f"{home.url}/p.csv", digest=right).load()
        assert not caplog.records
        source(f"{home.url}/p.csv", digest="0" * 64).load()
    assert "differs from the set as papers use it" in caplog.text


def test_a_cache_that_cannot_be_written_says_so(home, root):
    root.write_text("a file where the folder should be")
    with pytest.raises(HarnessError, match=r"cannot write to the cache .*HARNESS_CACHE"):
        source(f"{home.url}/p.csv").load()


def test_a_users_url_is_read_over_http(home):
    assert len(load_prompts(f"{home.url}/p.csv").prompts) == 2
    with pytest.raises(HarnessError, match=r"cannot download .*Not Found"):
        load_prompts(f"{home.url}/missing.csv")


def test_the_cache_is_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("HARNESS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "sampler-harness"


def test_weights_are_kept_with_their_checksum(home, root):
    home.files["a%20b.pkl"] = b"weights"
    file = PublicFile("models/edm2", f"{home.url}/a%20b.pkl")
    assert file.obtain() == root / "models" / "edm2" / "a b.pkl"
    assert file.obtain().read_bytes() == b"weights"
    assert home.asked == ["/a%20b.pkl"]
    assert home.encodings == ["identity"]  # what is kept is what lies there
    assert file.path.stat().st_mode & 0o777 == 0o644
    assert file.digest() == sha256(b"weights").hexdigest()
    assert file.path.with_name("a b.pkl.sha256").read_text() == f"{file.digest()}  a b.pkl\n"
    file.path.write_bytes(b"other")
    with pytest.raises(HarnessError, match="has changed since it was kept"):
        file.obtain()


def test_weights_that_cannot_be_had_say_where_to_put_them(home, root):
    absent = PublicFile("models/edm2", f"{home.url}/missing.pkl")
    with pytest.raises(HarnessError, match=r"Not Found. Get missing.pkl in another way and put it"):
        absent.obtain()
    assert not list((root / "models" / "edm2").glob("*missing.pkl"))
    with pytest.raises(HarnessError, match=r"or name the file as a parameter: checkpoint=PATH"):
        find_checkpoint("", absent)


def test_weights_in_torchs_cache_are_taken_from_there(home, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    kept = tmp_path / "torch" / "hub" / "checkpoints" / "w.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"weights")
    public = PublicFile("metrics", f"{home.url}/w.pth")
    assert find_checkpoint("", public) == str(kept)
    assert find_checkpoint(str(kept), PublicFile("metrics", f"{home.url}/p.csv")) == str(kept)
    with pytest.raises(HarnessError, match=rf"no file of weights /no/such.*{public.url}"):
        find_checkpoint("/no/such", public)
    assert home.asked == []


def test_ranks_that_start_together_download_once(home, root):
    code = (
        "from harness.fetch.download import PublicFile; "
        f"print(PublicFile('models', '{home.url}/slow.pkl').obtain().read_bytes().decode())"
    )
    ranks = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ)
        for _ in range(2)
    ]
    assert [rank.communicate()[0] for rank in ranks] == [b"weights\n"] * 2
    assert home.asked == ["/slow.pkl"]

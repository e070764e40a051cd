"""The formats of ``jaxconv check``: escaped as their readers decode them."""

import json
from pathlib import Path

import jaxconv as jc
from jaxconv.cli.formats import github, sarif
from jaxconv.cli.reports import report
from jaxconv.source import Origin


def test_annotations_are_escaped(project):
    def odd(x):
        raise ValueError("100%: a,b")

    path = str(project / "a,b:c%.py")
    written = github(report("m:f(a=1, b=2)", Origin(path, 3), jc.check(odd, "b")))
    assert "title=m%3Af(a=1%2C b=2)::" in written
    assert "ValueError: 100%25: a,b%0A    for every size" in written
    said = github(report("m:f", Origin(path, 3), jc.check(jc.max_pool, "b 3 3 c")))
    assert said.startswith("::notice file=a%2Cb%3Ac%25.py,line=3,title=m%3Af::a window ")


def test_github_names_files_as_they_lie_in_its_checkout(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    one = report("nets:f", Origin(str(folder / "nets.py"), 3), jc.check(jc.max_pool, "b 3 3 c"))
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    assert "file=nets.py," in github(one)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert "file=project/nets.py," in github(one)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "elsewhere"))
    assert "file=nets.py," in github(one)


def test_sarif_has_a_result_for_each_finding(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def halves(x):
        return x[:, ::2]

    inside, outside = str(tmp_path / "nets.py"), "/elsewhere/a b.py"
    verdict = jc.check(halves, "b h", returns="b h//2", where="b <= 2")
    reports = [
        report("nets:halves", Origin(inside, 3), verdict),
        report("m:pool", Origin(outside, 7), jc.check(jc.max_pool, "b 3 3 c")),
        report("m:pool", Origin(), jc.check(jc.max_pool, "b 3 3 c")),
    ]
    (run,) = json.loads(sarif(reports))["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["refuted", "tested", "note"]
    wrong, note, placeless = run["results"]
    assert (wrong["ruleId"], wrong["level"]) == ("refuted", "error")
    assert wrong["message"]["text"].startswith("nets:halves: at test_formats.py:")
    path = Path(wrong["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
    assert path.name == "test_formats.py"
    assert wrong["locations"][0]["physicalLocation"]["region"]["startLine"] > 1
    assert (note["ruleId"], note["level"]) == ("note", "note")
    location = note["locations"][0]["physicalLocation"]
    assert location["artifactLocation"] == {"uri": "file:///elsewhere/a%20b.py"}
    assert "physicalLocation" not in placeless["locations"][0]
    local = json.loads(
        sarif([report("nets:f", Origin(inside, 3), jc.check(jc.max_pool, "b 3 3 c"))])
    )
    artifact = local["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert artifact["artifactLocation"] == {"uri": "nets.py", "uriBaseId": "%SRCROOT%"}
    assert artifact["region"] == {"startLine": 3}

"""Annotations for GitHub: escaped as its runner decodes them."""

import jaxconv as jc
from jaxconv.cli.annotations import github_annotations
from jaxconv.source import Origin


def test_annotations_are_escaped(project):
    def odd(x):
        raise ValueError("100%: a,b")

    path = str(project / "a,b:c%.py")
    written = github_annotations("m:f(a=1, b=2)", Origin(path, 3), jc.check(odd, "b"))
    assert "title=m%3Af(a=1%2C b=2)::" in written
    assert "ValueError: 100%25: a,b%0A    for every size" in written
    said = github_annotations("m:f", Origin(path, 3), jc.check(jc.max_pool, "b 3 3 c"))
    assert said.startswith("::notice file=a%2Cb%3Ac%25.py,line=3,title=m%3Af::a window ")

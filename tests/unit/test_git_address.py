"""What `etl=` may say, and what its address means."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from featurestore.model.errors import InvalidArgument
from services.extraction.git_address import GitAddress, is_commit_id, kind_of, parse, pinned

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECRET = "hunter2"
segment = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\", exclude_categories=["Cc", "Cs"]),
    min_size=1,
    max_size=8,
).filter(lambda text: text not in {".", ".."})


class TestWhatIsNamed:
    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("git+https://host/org/repo.git@main#etl.py", "git"),
            ("git+nonsense", "git"),
            ("https://github.com/org/repo/blob/main/etl.py", "git"),
            ("git@host:org/repo.git", "git"),
            ("./etl.py", "path"),
            ("etl.py", "path"),
            ("~/etl.py", "path"),
            ("folder/etl", "path"),
            ("folder\\etl", "path"),
            ("/abs/etl_abc.py", "path"),
            ("etl_" + "a" * 26, "id"),
            ("qry_" + "a" * 26, "id"),
            ("etl_short", "id"),
            ("features", "name"),
            ("features@2", "name"),
            ("", "name"),
        ],
    )
    def test_the_first_rule_that_fits_decides(self, text, kind):
        assert kind_of(text) == kind

    @pytest.mark.parametrize(
        ("ref", "whole"),
        [(COMMIT, True), (COMMIT[:39], False), (COMMIT.upper(), False), (COMMIT + "0", False), ("", False)],
    )
    def test_a_commit_id_has_forty_lower_case_hex_digits(self, ref, whole):
        assert is_commit_id(ref) is whole


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "url", "ref", "path"),
        [
            ("git+https://host/org/repo.git@main#etl.py", "https://host/org/repo.git", "main", "etl.py"),
            ("git+https://host/org/repo#a/b/etl.py", "https://host/org/repo", "", "a/b/etl.py"),
            ("git+https://HOST:8443/repo/@v1#etl.py", "https://host:8443/repo", "v1", "etl.py"),
            (
                "git+https://host/repo.git@feature/new/x#etl.py",
                "https://host/repo.git",
                "feature/new/x",
                "etl.py",
            ),
            (f"git+https://host/r@{COMMIT}#etl.py", "https://host/r", COMMIT, "etl.py"),
            ("git+https://host/r@refs/pull/7/head#etl.py", "https://host/r", "refs/pull/7/head", "etl.py"),
            ("git+https://host/a@b/r@main#etl.py", "https://host/a@b/r", "main", "etl.py"),
            ("git+https://host/r@x%40y%23z%25#a%20b%23c.py", "https://host/r", "x@y#z%", "a b#c.py"),
            ("git+ssh://git@host:22/org/r.git@main#etl.py", "ssh://git@host:22/org/r.git", "main", "etl.py"),
            ("git+ssh://host/~me/r.git#etl.py", "ssh://host/~me/r.git", "", "etl.py"),
            ("git+file:///srv/my%20repo@main#etl.py", "file:///srv/my%20repo", "main", "etl.py"),
            ("git+http://[::1]:8080/r@main#etl.py", "http://[::1]:8080/r", "main", "etl.py"),
        ],
    )
    def test_an_address_is_read_as_pip_does_up_to_the_file(self, text, url, ref, path):
        address = parse(text)
        assert (address.url, address.ref, address.path) == (url, ref, path)
        assert address.repository == f"git+{url}"
        assert address.readings == ((ref, path),)
        assert parse(str(address)) == address

    @pytest.mark.parametrize(
        ("text", "scheme", "host"),
        [
            ("git+https://Host:8443/r#e.py", "https", "host"),
            ("git+ssh://git@host/r#e.py", "ssh", "host"),
            ("git+file:///r#e.py", "file", ""),
            ("git+http://[::1]:80/r#e.py", "http", "::1"),
        ],
    )
    def test_scheme_and_host_are_what_permission_is_asked_for(self, text, scheme, host):
        assert (parse(text).scheme, parse(text).host) == (scheme, host)

    @given(
        ref=st.lists(st.from_regex(r"[a-z0-9@%#_-]{1,6}", fullmatch=True), min_size=1, max_size=3),
        path=st.lists(segment, min_size=1, max_size=3),
    )
    def test_whatever_an_address_holds_survives_being_written_and_read(self, ref, path):
        assume(ref != ["@"])  # git's own rule
        address = GitAddress("https://host/org/repo.git", "/".join(ref), "/".join(path))
        assert parse(str(address)) == address

    def test_a_saved_script_is_addressed_by_its_commit(self):
        address = pinned("git+https://host/a@b/repo.git", COMMIT, "a b/#1@x.py")
        assert address == GitAddress("https://host/a@b/repo.git", COMMIT, "a b/#1@x.py")


class TestPages:
    @pytest.mark.parametrize(
        ("link", "repository", "ref", "path"),
        [
            ("https://github.com/org/repo/blob/main/a/etl.py", "git+https://github.com/org/repo.git", "main", "a/etl.py"),
            (f"https://github.com/org/repo/blob/{COMMIT}/etl.py#L3-L9", "git+https://github.com/org/repo.git", COMMIT, "etl.py"),
            ("https://gitlab.com/g/sub/repo/-/blob/v1/etl.py", "git+https://gitlab.com/g/sub/repo.git", "v1", "etl.py"),
            ("https://gitlab.com/g/repo/-/blob/v1/a%20b.py?ref_type=tags", "git+https://gitlab.com/g/repo.git", "v1", "a b.py"),
        ],
    )  # fmt: skip
    def test_the_link_of_a_files_page_is_an_address(self, link, repository, ref, path):
        address = parse(link)
        assert (address.repository, address.ref, address.path) == (repository, ref, path)

    def test_a_link_can_be_read_with_each_length_of_ref(self):
        address = parse("https://github.com/org/repo/blob/feature/x/a/etl.py")
        assert address.readings == (
            ("feature", "x/a/etl.py"),
            ("feature/x", "a/etl.py"),
            ("feature/x/a", "etl.py"),
        )

    @pytest.mark.parametrize(
        ("link", "part"),
        [
            ("https://github.com/org/repo/tree/main/a", "path"),
            ("https://github.com/org/repo/raw/main/etl.py", "path"),
            ("https://github.com/org/repo/blob/main", "path"),
            ("https://github.com/org/repo", "scheme"),
            ("https://github.com/org/repo.git", "scheme"),
            ("ftp://github.com/org/repo/blob/main/etl.py", "scheme"),
            (f"https://{SECRET}@github.com/org/repo/blob/main/etl.py", "credentials"),
        ],
    )
    def test_another_link_is_refused(self, link, part):
        assert _refused(link).details["part"] == part


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("git+ftp://host/r@main#e.py", "scheme"),
            ("git+ext::sh -c whoami#e.py", "scheme"),
            ("git+/srv/repo#e.py", "scheme"),
            ("git@host:org/repo.git@main#e.py", "scheme"),
            ("git+https:///r@main#e.py", "host"),
            ("git+https://ho st/r@main#e.py", "host"),
            ("git+https://host:port/r@main#e.py", "host"),
            ("git+https://host:99999/r@main#e.py", "host"),
            ("git+ssh://git@host:org/r@main#e.py", "host"),
            ("git+ssh://-oProxyCommand=whoami/r@main#e.py", "host"),
            ("git+ssh://-oProxyCommand=x@host/r@main#e.py", "host"),
            ("git+https://[::1/r@main#e.py", "host"),
            ("git+file://host/srv/r@main#e.py", "host"),
            (f"git+https://ada:{SECRET}@host/r@main#e.py", "credentials"),
            (f"git+https://{SECRET}@host/r@main#e.py", "credentials"),
            (f"git+http://{SECRET}@host/r@main#e.py", "credentials"),
            (f"git+ssh://git:{SECRET}@host/r@main#e.py", "credentials"),
            (f"git+https://host/r?token={SECRET}@main#e.py", "query"),
            ("git+https://host@main#e.py", "credentials"),
            ("git+https://host/@main#e.py", "repository"),
            ("git+https://host#e.py", "repository"),
            ("git+https://host/r@#e.py", "ref"),
            ("git+https://host/r@HEAD~1#e.py", "ref"),
            ("git+https://host/r@main^#e.py", "ref"),
            ("git+https://host/r@a..b#e.py", "ref"),
            ("git+https://host/r@a:b#e.py", "ref"),
            ("git+https://host/r@a%20b#e.py", "ref"),
            ("git+https://host/r@main", "path"),
            ("git+https://host/r@main#", "path"),
            ("git+https://host/r@main#/etc/passwd", "path"),
            ("git+https://host/r@main#../e.py", "path"),
            ("git+https://host/r@main#a/../../e.py", "path"),
            ("git+https://host/r@main#a/%2e%2e/e.py", "path"),
            ("git+https://host/r@main#a//e.py", "path"),
            ("git+https://host/r@main#./e.py", "path"),
            ("git+https://host/r@main#a/", "path"),
            ("git+https://host/r@main#a\\e.py", "path"),
            ("git+https://host/r@main#e%00.py", "path"),
            ("git+https://host/r@main#e.py\nX: y", "address"),
            ("git+https://ho\tst/r@main#e.py", "address"),
        ],
    )
    def test_a_wrong_part_is_named_and_an_example_given(self, text, part):
        error = _refused(text)
        assert error.details["part"] == part
        assert error.details["example"].startswith("git+")
        assert error.details["example"] in error.message

    def test_the_example_for_an_scp_like_address_is_what_was_meant(self):
        error = _refused("git@host:org/repo.git@main#etl.py")
        assert error.details["example"] == "git+ssh://git@host/org/repo.git@main#path/to/file.py"


def _refused(text):
    with pytest.raises(InvalidArgument) as refused:
        parse(text)
    assert refused.value.reason == "ETL_ADDRESS"
    assert SECRET not in f"{refused.value} {refused.value.details}"
    return refused.value

"""What control groups tell of a process, and what a user who names groups cannot make them tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.attestation.cgroups import Membership, membership

ID, OTHER = "4f" * 32, "a0" * 32


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system.slice/nginx.service", Membership("nginx.service", "system.slice")),
        ("/machine.slice/web-tier.slice/web@1.service", Membership("web@1.service", "web-tier.slice")),
        ("/user.slice/user-1000.slice/session-3.scope", Membership("session-3.scope", "user-1000.slice")),
        (f"/docker/{ID}", Membership(container=ID)),
        (f"/system.slice/docker-{ID}.scope", Membership(f"docker-{ID}.scope", "system.slice", ID)),
        (f"/machine.slice/libpod-{ID}.scope/container", Membership(f"libpod-{ID}.scope", "machine.slice", ID)),
        (f"/kubepods/besteffort/pod1b2c/{ID}", Membership(container=ID)),
        (
            f"/kubepods.slice/kubepods-pod1b2c.slice/cri-containerd-{ID}.scope",
            Membership(f"cri-containerd-{ID}.scope", "kubepods-pod1b2c.slice", ID),
        ),
        ("/", Membership()),
        (f"/docker/{ID[:12]}", Membership()),
    ],
)
def test_units_and_containers_are_read_from_the_path(path, expected):
    assert membership(f"0::{path}\n") == expected


def test_of_nested_groups_the_outermost_counts():
    assert membership(f"0::/docker/{ID}/docker/{OTHER}/system.slice/sshd.service\n").container == ID
    assert membership("0::/system.slice/batch.service/sub/nginx.service\n").unit == "batch.service"


@pytest.mark.parametrize(
    "above",
    ["/user.slice/user-1000.slice/user@1000.service/app.slice", "/system.slice/delegated.service", "/user.slice"],
)
def test_whoever_was_given_a_subtree_cannot_claim_a_container_in_it(above):
    assert membership(f"0::{above}/docker-{ID}.scope\n").container == ""


def test_a_users_own_unit_is_not_a_unit_of_the_system():
    path = "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service"
    assert membership(f"0::{path}\n").unit == "user@1000.service"


def test_the_monitor_of_a_container_is_not_in_it():
    assert membership(f"0::/machine.slice/libpod-conmon-{ID}.scope\n").container == ""


def test_the_first_version_of_control_groups_is_read_as_well():
    text = f"12:pids:/docker/{ID}\n2:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/system.slice/web.service\n0::/\n"
    assert membership(text) == Membership("web.service", "system.slice", ID)


def test_two_containers_are_none_and_a_path_out_of_the_namespace_is_not_read():
    assert membership(f"2:cpu:/docker/{ID}\n1:pids:/docker/{OTHER}\n").container == ""
    assert membership(f"0::/../docker/{ID}/x.service\n") == Membership()


@given(st.text())
def test_any_text_gives_an_answer(text):
    membership(text)

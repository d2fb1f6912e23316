from tests.cli.rig import Rig


def test_an_unknown_role_is_told_with_the_known_ones(rig: Rig) -> None:
    said = rig.run("serve", "imap")
    assert said.code == 1
    assert said.err == "pop3-bridge: there is no role imap: choose from pop3, worker, admin\n"


def test_a_server_that_nobody_could_log_in_to_is_not_started(rig: Rig) -> None:
    rig.environment = {"BRIDGE_POSTGRES__URL": "postgresql://u:p@127.0.0.1:1/x"}
    for roles in ((), ("pop3",), ("worker", "pop3")):
        said = rig.run("serve", *roles)
        assert said.code == 1
        assert "BRIDGE_TLS__CERTIFICATE_FILE" in said.err
        assert "BRIDGE_LOGIN__CLEARTEXT_NETWORKS" in said.err

from dnslib import DNSRecord

from bench.scale.dns import HOST, name_server


def test_a_name_leads_to_all_replicas() -> None:
    with name_server() as names:
        for addresses in (["127.0.0.11"], ["127.0.0.12", "127.0.0.13"], []):
            names.set(addresses)
            for tcp in (False, True):
                answer = DNSRecord.parse(DNSRecord.question(HOST).send("127.0.0.1", names.port, tcp=tcp, timeout=10))
                assert sorted(str(record.rdata) for record in answer.rr) == addresses
        assert names.target(50051) == f"dns://127.0.0.1:{names.port}/{HOST}:50051"

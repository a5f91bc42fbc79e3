"""An independent audit of a market's money: every sum recomputed from the chain's events and calldata, from the gateway's journal, and from
the receipts, with code that shares nothing with the program. They must agree to the last pico-dollar."""
import sqlite3
from collections import defaultdict

import eth

PAID, VOID = 1, 2


def int_at(log, i):
    return int(log["data"][2 + 64 * i:66 + 64 * i], 16)


class Chain:
    """What the Vault's events and the calldata of its settlements say."""

    def __init__(self, m):
        self.m = m
        vault = m.contracts["Vault"]
        self.logs = defaultdict(list)
        names = {eth.topic(f"{name}({types})"): name for name, types in {
            "Deposited": "address,address,uint256", "Withdrawn": "address,uint256", "Given": "address,address,uint96",
            "BondAdded": "address,address,uint96", "LaneOpened": "address,uint32,address,address", "Pulled": "address,uint32,bytes32,uint96",
            "LinkOpened": "address,uint32,address,uint16", "Settled": "address,uint64,bytes32,uint96,uint96",
            "Claimed": "address,uint32,address,uint256", "FeesCollected": "address,uint96,uint96", "EntryVoided": "address,uint64,uint32,uint96",
            "Redeemed": "address,uint32,uint96,uint96"}.items()}
        for log in m.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "address": "0x" + vault.hex()}):
            self.logs[names.get(log["topics"][0], "other")].append(log)
        self.pulled = defaultdict(int)
        for log in self.logs["Pulled"]:
            self.pulled[int(log["topics"][2], 16)] += int_at(log, 0)
        self.owner = {int(log["topics"][2], 16): bytes.fromhex(log["topics"][3][-40:]) for log in self.logs["LaneOpened"]}
        self.node = {int(log["topics"][2], 16): bytes.fromhex(log["topics"][3][-40:]) for log in self.logs["LinkOpened"]}
        self.share = {int(log["topics"][2], 16): int_at(log, 0) for log in self.logs["LinkOpened"]}
        self.claimed = defaultdict(int)
        for log in self.logs["Claimed"]:
            self.claimed[int(log["topics"][2], 16)] += int_at(log, 0)
        self.replay()

    def replay(self):
        """Runs all settlements again from their calldata."""
        self.spent, self.seq, self.cum = defaultdict(int), defaultdict(int), defaultdict(int)
        self.entries = []  # (number, index, lane, count, first, before, spent, tree)
        self.credits = []  # (number, link, cum)
        self.roots = []
        self.debited = self.credited = self.fees = 0
        for number, log in enumerate(self.logs["Settled"]):
            assert int(log["topics"][2], 16) == number, "a batch number is missing or used twice"
            tx = self.m.rpc("eth_getTransactionByHash", log["transactionHash"])
            raw = bytes.fromhex(tx["input"][2:])
            assert raw[:4] == eth.call_data("settle(uint64,uint256[2][],uint256[])")[:4] and bytes.fromhex(tx["from"][2:]) == self.m.gateway
            words = [int.from_bytes(raw[i:i + 32], "big") for i in range(4, len(raw), 32)]
            assert words[0] == number
            at = words[1] // 32
            debits = [(words[at + 1 + 2 * i], words[at + 2 + 2 * i]) for i in range(words[at])]
            at = words[2] // 32
            credits = words[at + 1:at + 1 + words[at]]
            hashes, debited, credited = [], 0, 0
            for index, (word, tree) in enumerate(debits):
                lane, count, spent = word >> 128, word >> 96 & 0xFFFFFFFF, word & 2**96 - 1
                before, first = self.spent[lane], self.seq[lane]
                assert count > 0 and spent >= before
                entry = (lane, count, first, before, spent, tree.to_bytes(32, "big"))
                hashes.append(eth.entry_hash(*entry))
                self.entries.append((number, index, *entry))
                debited += spent - before
                self.spent[lane], self.seq[lane] = spent, first + count
            for word in credits:
                linked, cum = word >> 96, word & 2**96 - 1
                self.credits.append((number, linked, cum))
                gain = max(0, cum - self.cum[linked])
                credited += gain
                self.cum[linked] += gain
            root = eth.batch_root(hashes) if hashes else bytes(32)
            assert log["data"][2:66] == root.hex(), "the posted root is not that of the posted entries"
            assert (int_at(log, 1), int_at(log, 2)) == (debited, credited)
            self.roots.append(root)
            self.debited += debited
            self.credited += credited
            self.fees += credited * (10_000 - self.share.get(1, 10_000)) // 10_000 if credited else 0
        assert self.debited == sum(self.spent.values()) and self.credited == sum(self.cum.values())

    def check_storage(self):
        """The contract's storage says what its events say, and holds at least the tokens that it owes."""
        m, vault = self.m, self.m.contracts["Vault"]
        locked_sum = 0
        for lane, owner in self.owner.items():
            locked, spent, seq, stored_owner = m.rpc.view(vault, "laneAt(address,uint32)", m.gateway, lane)[:4]
            assert (spent, seq) == (self.spent[lane], self.seq[lane]) and stored_owner == int.from_bytes(owner, "big"), lane
            assert locked == self.pulled[lane] - spent, f"lane {lane}: locked {locked}, pulled {self.pulled[lane]}, spent {spent}"
            locked_sum += locked
        net_sum = 0
        for linked in self.node:
            assert m.rpc.view(vault, "linkAt(address,uint32)", m.gateway, linked)[0] == self.cum[linked]
            net_sum += self.cum[linked] * self.share[linked] // 10_000 - self.claimed[linked]
        bond, unfinal, batches, pool, fees = m.rpc.view(vault, "gatewayOf(address)", m.gateway)[:5]
        assert batches == len(self.roots) and pool == self.debited - self.credited and fees == self.fees, (pool, fees)
        assert unfinal == self.debited and bond >= unfinal
        assert bond == sum(int_at(log, 0) for log in self.logs["BondAdded"] if bytes.fromhex(log["topics"][1][-40:]) == m.gateway)
        people = {bytes.fromhex(log["topics"][1][-40:]) for name in ("Deposited", "Withdrawn", "Given") for log in self.logs[name]}
        people |= {bytes.fromhex(log["topics"][2][-40:]) for log in self.logs["Given"]}
        free = {p: m.rpc.view(vault, "free(address)", p)[0] for p in people}
        cash = m.rpc.view(m.contracts["USD"], "balanceOf(address)", vault)[0] * 10**6
        dust = cash - (sum(free.values()) + locked_sum + net_sum + bond + pool + fees)
        assert 0 <= dust <= 4 * (len(self.roots) + len(self.logs["Claimed"])), f"{dust} pico-dollars have no owner"
        deposits = sum(int_at(log, 0) for log in self.logs["Deposited"]) - sum(int_at(log, 0) for log in self.logs["Withdrawn"])
        assert deposits - sum(self.claimed.values()) == cash, "what came in and went out is what is there"


class Ledger:
    """The gateway's database, read beside the running gateway."""

    def __init__(self, m):
        self.m = m
        db = sqlite3.connect(f"file:{m.data}/gateway/gateway.db?mode=ro", uri=True, timeout=30)
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")  # one state of everything
        rows = {table: db.execute(f"SELECT * FROM {table}").fetchall()
                for table in ("ticket", "node", "entry", "credit", "batch", "journal", "item", "checkpoint", "account", "usage")}
        db.close()
        self.rows = rows
        self.tickets = {}
        for row in rows["ticket"]:
            terms = eth.decode("Terms", row["terms"])
            receipt = eth.decode("Receipt", row["receipt"]) if row["receipt"] else None
            assert terms["laneSeq"] == row["lane_seq"] and terms["linkSeq"] == row["link_seq"] and terms["jobId"] == row["job_id"]
            self.tickets[row["lane"], row["lane_seq"]] = (row, terms, receipt)
        self.nodes = {row["id"]: row for row in rows["node"]}
        self.lane_of = {row["addr"]: row["lane"] for row in rows["account"] if row["lane"]}

    def check(self, chain):
        self.check_tickets()
        self.check_signatures()
        self.check_journal(chain)
        self.check_batches(chain)
        self.check_usage()

    def check_tickets(self):
        """Places without gaps; every receipt fits its ticket; every paid receipt stands once."""
        self.paid_of_lane, self.paid_of_node = defaultdict(int), defaultdict(int)
        lanes, links, places = defaultdict(set), defaultdict(set), set()
        for (lane, seq), (row, terms, receipt) in self.tickets.items():
            lanes[lane].add(seq)
            assert row["link_seq"] not in links[row["node"]]
            links[row["node"]].add(row["link_seq"])
            assert terms["node"] == self.nodes[row["node"]]["addr"] and terms["gateway"] == self.m.gateway
            assert self.lane_of[terms["requester"]] == lane
            assert (row["state"] == PAID) == (receipt is not None) and row["state"] in (0, PAID, VOID)
            if receipt is None:
                continue
            assert receipt["terms"] == eth.struct_hash("Terms", terms)
            assert receipt["inTokens"] <= terms["maxIn"] and receipt["outTokens"] <= terms["maxOut"]
            cost = ((receipt["inTokens"] - receipt["cachedTokens"]) * terms["priceIn"] + receipt["cachedTokens"] * terms["priceCached"]
                    + receipt["outTokens"] * terms["priceOut"])
            assert receipt["amount"] == cost == int.from_bytes(row["amount"], "big")
            assert (row["node"], row["item"]) not in places
            places.add((row["node"], row["item"]))
            self.paid_of_lane[lane] += cost
            self.paid_of_node[row["node"]] += cost
        for seqs in (*lanes.values(), *links.values()):
            assert seqs == set(range(len(seqs))), "a sequence number is missing"

    def check_signatures(self):
        """Both sides signed: every paid receipt stands in a checkpoint of its node; the last Ack says what is owed."""
        domain = self.m.domain
        items = defaultdict(dict)
        for row in self.rows["item"]:
            items[row["node"]][row["item"]] = row["hash"]
        signed, tickets = defaultdict(int), defaultdict(int)
        numbers = defaultdict(set)
        link_hash = {}
        for row, terms, _ in self.tickets.values():
            link_hash[row["node"], row["link_seq"]] = terms
        for row in sorted(self.rows["checkpoint"], key=lambda r: (r["node"], r["kind"], r["number"])):
            c = eth.decode("Checkpoint", row["body"])
            node = self.nodes[row["node"]]["addr"]
            signer, peer = (self.m.gateway, node) if c["kind"] == 1 else (node, self.m.gateway)
            assert (c["kind"], c["signer"], c["peer"], c["number"]) == (row["kind"], signer, peer, row["number"])
            assert eth.recover(domain.digest("Checkpoint", c), row["sig"]) == signer
            numbers[row["node"], c["kind"]].add(c["number"])
            places = range(c["first"], c["first"] + c["count"])
            count = signed if c["kind"] == 2 else tickets
            assert c["first"] == count[row["node"]], "checkpoints leave no gaps and overlap nowhere"
            count[row["node"]] += c["count"]
            if c["kind"] == 2:
                assert c["root"] == eth.checkpoint_root(items[row["node"]][i] for i in places)
            else:
                assert c["root"] == eth.checkpoint_root(eth.struct_hash("Terms", link_hash[row["node"], i]) for i in places)
        for used in numbers.values():
            assert used == set(range(len(used)))
        for row, _, receipt in self.tickets.values():
            if receipt is not None:
                assert items[row["node"]][row["item"]] == eth.struct_hash("Receipt", receipt)
                assert row["item"] < signed[row["node"]], "a paid receipt without its node's signature"
        for number, row in self.nodes.items():
            assert int.from_bytes(row["owed"] or b"", "big") == self.paid_of_node[number]
            if row["ack"]:
                ack = eth.decode("Ack", row["ack"])
                assert eth.recover(domain.digest("Ack", ack), row["ack_sig"]) == self.m.gateway and ack["node"] == row["addr"]
                assert ack["cum"] == self.paid_of_node[number], "the last Ack says what is owed"

    def check_journal(self, chain):
        """Double entry: what left an account has come to another; totals are those of tickets and chain."""
        balance, charged = defaultdict(int), defaultdict(list)
        for row in self.rows["journal"]:
            amount = int.from_bytes(row["amount"], "big")
            balance[row["source"]] -= amount
            balance[row["target"]] += amount
            if row["kind"] in ("job", "unpay"):  # a receipt that its node never signs is taken back
                charged[row["lane"], row["seq"]].append(amount if row["kind"] == "job" else -amount)
        assert sum(balance.values()) == 0
        for place, (_, _, receipt) in self.tickets.items():
            amounts = charged.pop(place, [])
            assert sum(amounts) == (receipt["amount"] if receipt else 0), f"ticket {place} was charged {amounts}"
        assert not charged
        for lane in chain.owner:
            assert balance[f"free:{lane}"] == -chain.pulled[lane], "the journal's lane holds what the chain's lane got"
            assert balance[f"lane:{lane}"] == chain.pulled[lane] - self.paid_of_lane[lane]
        for number, row in self.nodes.items():
            credited, on_chain = balance[f"credited:{number}"], chain.cum[row["link"]] if row["link"] else 0
            assert credited == on_chain, f"node {number}, link {row['link']}: the journal says {credited}, the chain {on_chain}"
            assert balance[f"owed:{number}"] == self.paid_of_node[number] - credited

    def check_batches(self, chain):
        """Every entry on chain is the tree of its tickets; every credit the sum of its node's settled tickets."""
        stored = {(r["number"], r["idx"]): r for r in self.rows["entry"]}
        settled = defaultdict(int)  # of each node
        by_number = defaultdict(list)
        for entry in chain.entries:
            by_number[entry[0]].append(entry)
        credits = defaultdict(list)
        for number, linked, cum in chain.credits:
            credits[number].append((linked, cum))
        number_of_link = {row["link"]: number for number, row in self.nodes.items() if row["link"]}
        on_chain = set()
        for batch in range(len(chain.roots)):
            for number, index, lane, count, first, before, spent, tree in by_number[batch]:
                leaves = []
                for seq in range(first, first + count):
                    row, _, receipt = self.tickets[lane, seq]
                    assert row["state"] != 0, "an open ticket was settled"
                    leaves.append((seq, receipt["amount"], eth.struct_hash("Receipt", receipt)) if receipt else (seq, 0, bytes(32)))
                    settled[row["node"]] += receipt["amount"] if receipt else 0
                    on_chain.add((lane, seq))
                assert eth.sum_root(leaves) == (tree, spent - before), f"batch {batch}: the tree is not that of the lane's tickets"
                mine = stored[number, index]
                assert (mine["lane"], mine["first"], mine["count"], mine["tree"]) == (lane, first, count, tree)
                assert int.from_bytes(mine["spent"], "big") == spent
            for linked, cum in credits[batch]:
                assert cum == settled[number_of_link[linked]], "a node's credit is the sum of its settled receipts"
        self.settled = on_chain
        for row in self.rows["batch"]:
            if row["number"] < len(chain.roots):
                assert row["root"] == chain.roots[row["number"]]

    def check_usage(self):
        for row in self.rows["account"]:
            days = [u for u in self.rows["usage"] if u["account"] == row["addr"]]
            mine = [r for _, t, r in self.tickets.values() if r is not None and t["requester"] == row["addr"]]
            assert sum(u["jobs"] for u in days) == len(mine)
            assert sum(u["out_tokens"] for u in days) == sum(r["outTokens"] for r in mine)
            assert sum(u["in_tokens"] for u in days) == sum(r["inTokens"] for r in mine)
            assert sum(int.from_bytes(u["spent"], "big") for u in days) == sum(r["amount"] for r in mine)

    def everything_is_settled(self):
        """All that was paid stands on chain, and all of it is credited."""
        return all(place in self.settled for place, (_, _, receipt) in self.tickets.items() if receipt is not None)


def audit(m):
    """Checks everything there is now; returns (Chain, Ledger)."""
    chain = Chain(m)
    chain.check_storage()
    ledger = Ledger(m)
    ledger.check(chain)
    return chain, ledger

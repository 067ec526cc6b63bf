"""Two orders that go through, and three that do not: ``make scenario-order-fulfilment``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from examples.services.stage import mails, stage, told

HERE = Path(__file__).resolve().parent
WORKFLOW = "order-fulfilment.yaml"
STOCK = "SELECT sku, on_hand || ' on hand', reserved || ' reserved' FROM stock ORDER BY sku"
CHARGES = "SELECT order_id, card, cents, state FROM charges WHERE order_id IS NOT NULL ORDER BY id"


def order(order_id: str, card: str, gateway: str, **items: int) -> dict[str, Any]:
    """An order of so many of each."""
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in items.items()]
    return {
        "order_id": order_id, "email": "ada@example.com", "card": card, "items": lines, "gateway": gateway
    }  # fmt: skip


def main() -> None:
    with stage(HERE, *map(Path, sys.argv[1:])) as here:
        mailbox = here.serve("mailbox", usually=8025)
        gateway = here.serve("payments")
        here.database("shop.db", "shop.sql")

        here.say("An order goes through, although the gateway is busy twice")
        here.run(WORKFLOW, order("A-1", "busy", gateway.url, lamp=2, desk=1))
        here.say("The gateway charges, and its answer gets lost: it is asked again, with the same key")
        here.run(WORKFLOW, order("A-2", "slow", gateway.url, lamp=1))
        here.say("There is no chair: the lamp that was reserved before it is released")
        here.run(WORKFLOW, order("A-3", "visa", gateway.url, lamp=1, chair=1), exits=1)
        here.say("The card is declined")
        here.run(WORKFLOW, order("A-4", "declined", gateway.url, desk=1), exits=1)
        here.say("The gateway never answers: whatever it has charged is given back")
        here.run(WORKFLOW, order("A-5", "stuck", gateway.url, desk=2), exits=1)

        here.say("What is left")
        here.table("stock: three lamps and a desk are sold, nothing is reserved", "shop.db", STOCK)
        here.table("orders", "shop.db", "SELECT order_id, cents, charge, state FROM orders")
        here.table("charges at the gateway", gateway.folder / "payments.db", CHARGES)
        here.tell("mails", told(mails(mailbox.folder)))


if __name__ == "__main__":
    main()

"""Orders, balances and positions by REST. Amounts in and out are exact.

Every call needs a key with the permission of the market. Answers have the contract's fields,
amounts as `decimal.Decimal`, times as text, null as ``None``.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal
from urllib.parse import quote

from .errors import CONNECTION_FAILED, BookwireError
from .rest import Rest
from .values import Amount, Row, Time, Words, amount, exact, instant, words

_ORDERS = "/api/trading/orders"

#: Seconds before the first repetition of an order whose answer is lost; then twice as long.
_REPEAT_AFTER = 0.25


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class TradingCalls(Rest):
    """What ``/api/trading`` offers."""

    def _trade(
        self,
        method: str,
        path: str,
        query: dict[str, str | None] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        asked = {**_present(query or {}), "numbers": "string"}
        return exact(self._call(method, path, asked, body))

    def place(
        self,
        provider: str,
        entity_id: str,
        side: Literal["buy", "sell"],
        type: Literal["market", "limit", "stop_market", "stop_limit"],
        quantity: Amount,
        price: Amount | None = None,
        *,
        stop_price: Amount | None = None,
        time_in_force: Literal["GTC", "IOC", "FOK"] | None = None,
        post_only: bool | None = None,
        reduce_only: bool | None = None,
        position_side: Literal["net", "long", "short", "both"] | None = None,
        leverage: int | None = None,
        margin_trading: bool | None = None,
        round: bool | None = None,
        client_order_id: str | None = None,
        account: str | None = None,
        repeats: int = 2,
    ) -> Row:
        """Places an order.

        When no answer comes (connection refused or cut off, time-out) the same order is sent again
        with the same ``client_order_id``, at most `repeats` times (2), after 0.25 s, then 0.5 s.
        That never makes a second order: the gateway answers with the first one. Nothing is sent
        again after an answer, whatever it says.

        Args:
            entity_id: the instrument's entity id, or any accepted spelling.
            quantity, price, stop_price: str, Decimal or int, in base and quote asset.
            round: to the nearest legal step; else an illegal amount is refused.
            client_order_id: up to 64 printable characters; by default a new UUID.

        Returns:
            The order. ``status`` may be ``unknown`` (HTTP 202): sent, and its outcome not proven.
            Ask for it with :meth:`order`; do not place it anew under another id.

        Raises:
            TypeError: an amount is a float.
            BookwireError: refused, or still no answer (``CLIENT_CONNECTION_FAILED``); then
                ``details["client_order_id"]`` is what to ask for.
        """
        own_id = client_order_id or uuid.uuid4().hex
        body = _present(
            {
                "provider": provider,
                "entity_id": entity_id,
                "side": side,
                "type": type,
                "quantity": amount("quantity", quantity),
                "price": amount("price", price),
                "stop_price": amount("stop_price", stop_price),
                "time_in_force": time_in_force,
                "post_only": post_only,
                "reduce_only": reduce_only,
                "position_side": position_side,
                "leverage": leverage,
                "margin_trading": margin_trading,
                "round": round,
                "client_order_id": own_id,
                "account": account,
            }
        )
        for attempt in range(repeats + 1):
            try:
                order: Row = self._trade("POST", _ORDERS, body=body)
                return order
            except BookwireError as error:
                if error.code != CONNECTION_FAILED or attempt == repeats:
                    error.details.setdefault("client_order_id", own_id)
                    raise
            time.sleep(_REPEAT_AFTER * 2**attempt)
        raise ValueError("repeats is not negative")

    def order(self, order_id: str | None = None, *, client_order_id: str | None = None) -> Row:
        """One order, by the gateway's id or by yours.

        Raises:
            ValueError: neither or both ids.
            BookwireError: ``CRYPTO_ORDER_NOT_FOUND``.
        """
        if (order_id is None) == (client_order_id is None):
            raise ValueError("give either order_id or client_order_id")
        if order_id is None:
            path = f"{_ORDERS}/by-client-id/{quote(client_order_id or '', safe='')}"
        else:
            path = f"{_ORDERS}/{quote(order_id, safe='')}"
        order: Row = self._trade("GET", path)
        return order

    def orders(
        self,
        provider: str | None = None,
        *,
        entity_id: str | None = None,
        status: Words | None = None,
        account: str | None = None,
        start_timestamp: Time | None = None,
        end_timestamp: Time | None = None,
        limit: int | None = None,
    ) -> list[Row]:
        """Orders of a filter; `status`: ``pending open partially_filled filled canceled rejected
        expired unknown``, one or several."""
        query = {
            "provider": provider,
            "entity_id": entity_id,
            "status": ",".join(words(status)) or None,
            "account": account,
            "start_timestamp": instant("start_timestamp", start_timestamp),
            "end_timestamp": instant("end_timestamp", end_timestamp),
            "limit": None if limit is None else str(limit),
        }
        found: list[Row] = self._trade("GET", _ORDERS, query)["orders"]
        return found

    def amend(
        self, order_id: str, *, quantity: Amount | None = None, price: Amount | None = None
    ) -> Row:
        """Changes an order; `quantity` includes what has executed. The answer says how: in place,
        or by cancel and replace, which has another ``order_id``."""
        body = {"quantity": amount("quantity", quantity), "price": amount("price", price)}
        path = f"{_ORDERS}/{quote(order_id, safe='')}"
        order: Row = self._trade("PATCH", path, body=_present(body))
        return order

    def cancel(self, order_id: str | None = None, *, client_order_id: str | None = None) -> Row:
        """Cancels an order, by the gateway's id or by yours, and returns it.

        Raises:
            ValueError, BookwireError: as of :meth:`order`.
        """
        if order_id is None or client_order_id is not None:
            order_id = self.order(order_id, client_order_id=client_order_id)["order_id"]
        order: Row = self._trade("DELETE", f"{_ORDERS}/{quote(order_id, safe='')}")
        return order

    def cancel_all(
        self, provider: str, *, entity_id: str | None = None, account: str | None = None
    ) -> dict[str, list[Row]]:
        """Cancels all open orders of a filter: ``{"orders": […], "failed": […]}``. Look at
        ``failed``."""
        query = {"provider": provider, "entity_id": entity_id, "account": account}
        found: dict[str, list[Row]] = self._trade("DELETE", _ORDERS, query)
        return found

    def fills(
        self,
        provider: str | None = None,
        *,
        entity_id: str | None = None,
        order_id: str | None = None,
        account: str | None = None,
        start_timestamp: Time | None = None,
        end_timestamp: Time | None = None,
        limit: int | None = None,
    ) -> list[Row]:
        """Executions of a filter."""
        query = {
            "provider": provider,
            "entity_id": entity_id,
            "order_id": order_id,
            "account": account,
            "start_timestamp": instant("start_timestamp", start_timestamp),
            "end_timestamp": instant("end_timestamp", end_timestamp),
            "limit": None if limit is None else str(limit),
        }
        found: list[Row] = self._trade("GET", "/api/trading/fills", query)["fills"]
        return found

    def balances(
        self, provider: str | None = None, *, account: str | None = None, asset: str | None = None
    ) -> list[Row]:
        """Balances: ``provider account asset free locked total``."""
        query = {"provider": provider, "account": account, "asset": asset}
        found: list[Row] = self._trade("GET", "/api/trading/balances", query)["balances"]
        return found

    def positions(
        self,
        provider: str | None = None,
        *,
        account: str | None = None,
        entity_id: str | None = None,
    ) -> list[Row]:
        """Positions of perpetuals; a short one's ``quantity`` is negative."""
        query = {"provider": provider, "account": account, "entity_id": entity_id}
        found: list[Row] = self._trade("GET", "/api/trading/positions", query)["positions"]
        return found

    def set_leverage(
        self, provider: str, entity_id: str, leverage: int, *, account: str | None = None
    ) -> dict[str, Any]:
        """Sets a perpetual's leverage, which an order never does."""
        body = {"provider": provider, "entity_id": entity_id, "leverage": leverage}
        body |= _present({"account": account})
        found: dict[str, Any] = exact(self._call("POST", "/api/trading/leverage", body=body))
        return found

    def kill_switch(self, engaged: bool, *, provider: str | None = None) -> dict[str, Any]:
        """Cancels everything and refuses new orders until it is released, over restarts too."""
        body = _present({"engaged": engaged, "provider": provider})
        found: dict[str, Any] = exact(self._call("POST", "/api/trading/kill_switch", body=body))
        return found

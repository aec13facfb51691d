"""Addresses of apps and handlers."""

import pytest

from gojob_redis.domain.address import Address, app_of, name_of, namespace_of


def test_an_address_is_read_back_as_it_was_written() -> None:
    address = Address.parse("shop/billing/SendInvoice")

    assert (address.namespace, address.app_name, address.handler) == ("shop", "billing", "SendInvoice")
    assert (address.app, str(address)) == ("shop/billing", "shop/billing/SendInvoice")


@pytest.mark.parametrize("text", ["", "a", "a/b", "a/b/c/d"])
def test_what_is_no_address_of_a_handler_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        Address.parse(text)


def test_one_part_is_read_without_the_others() -> None:
    assert namespace_of("shop") == namespace_of("shop/billing") == namespace_of("shop/billing/send") == "shop"
    assert app_of("shop/billing/send") == "shop/billing"
    assert (name_of("shop/billing"), name_of("shop/billing/send")) == ("billing", "send")

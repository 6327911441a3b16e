"""A FastAPI application: path and query parameters, validation, its own /docs."""

import logging

from fastapi import FastAPI
from pydantic import BaseModel, Field

app = FastAPI(title="Acme shop")
logger = logging.getLogger("shop")

PRICES = {"tea": 3.5, "cake": 4.2}


class Order(BaseModel):
    """What a customer wants."""

    item: str
    count: int = Field(gt=0, le=100)


@app.get("/items/{item}")
async def read_item(item: str, count: int = 1):
    """Price of an item."""
    return {"item": item, "total": PRICES.get(item, 0) * count}


@app.post("/orders", status_code=201)
async def order(wanted: Order):
    """Take an order."""
    logger.info("order of %d %s", wanted.count, wanted.item)
    return {"ordered": wanted.item, "total": PRICES.get(wanted.item, 0) * wanted.count}

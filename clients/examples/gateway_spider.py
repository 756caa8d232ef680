#!/usr/bin/env -S scrapy runspider
"""Prints what the API answers; the sidecar's gateway adds the token, and replaces one that is refused."""
import scrapy


class Search(scrapy.Spider):
    name = "search"
    custom_settings = {"API": "http://127.0.0.1:9189/chitai_gorod"}

    async def start(self):
        yield scrapy.Request(f"{self.settings['API']}/search/product?phrase=redis")

    def parse(self, response):
        print(response.text)

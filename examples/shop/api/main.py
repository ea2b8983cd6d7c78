"""The shop: POST /items stores an item and counts an order, GET / shows both."""
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
import redis

cache = redis.Redis(host=os.environ["CACHE"])


def database():
    connection = psycopg2.connect(os.environ["DATABASE"])
    connection.autocommit = True
    return connection.cursor()


class Shop(BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = (json.dumps(value) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"cache": cache.ping()})
        cursor = database()
        cursor.execute("SELECT name FROM items ORDER BY id")
        self.answer(200, {"items": [row[0] for row in cursor], "orders": int(cache.get("orders") or 0)})

    def do_POST(self):
        item = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cursor = database()
        cursor.execute("INSERT INTO items (name) VALUES (%s)", (item["name"],))
        self.answer(201, {"orders": cache.incr("orders")})


database().execute("CREATE TABLE IF NOT EXISTS items (id serial PRIMARY KEY, name text NOT NULL)")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("the shop is open", flush=True)
ThreadingHTTPServer(("", 8000), Shop).serve_forever()

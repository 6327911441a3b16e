"""What tenants deploy in the tests of public frameworks."""

from __future__ import annotations

FASTAPI = """
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import (APIRouter, BackgroundTasks, Depends, FastAPI, Form, Header, Query, Request,
                     UploadFile)
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware

HERE = Path(__file__).parent
done = []

class Teapot(Exception):
    pass

@asynccontextmanager
async def lifespan(app):
    yield {"started": True}

app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, secret_key="secret")
app.add_middleware(GZipMiddleware)
app.add_middleware(CORSMiddleware, allow_origins=["https://a.example"])
app.mount("/static", StaticFiles(directory=HERE / "static"))
templates = Jinja2Templates(directory=HERE / "templates")

@app.middleware("http")
async def timed(request, call_next):
    answer = await call_next(request)
    answer.headers["x-timed"] = "yes"
    return answer

@app.exception_handler(Teapot)
async def teapot(request, error):
    return JSONResponse({}, status_code=418)

async def dependency(q: Annotated[list[str], Query()]):
    try:
        yield q
    finally:
        done.append("dependency")

@app.get("/depends")
async def depends(request: Request, q: Annotated[list, Depends(dependency)],
                  x_token: Annotated[str, Header()]):
    return {"q": q, "token": x_token, "started": request.state.started}

@app.post("/login")
async def login(name: Annotated[str, Form()]):
    return {"name": name}

@app.post("/upload")
def upload(file: UploadFile, note: Annotated[str, Form()]):
    return {"name": file.filename, "size": len(file.file.read()), "note": note}

@app.get("/page/{name}")
async def page(request: Request, name: str):
    return templates.TemplateResponse(request, "item.html", {"name": name})

@app.get("/file")
async def file():
    return FileResponse(HERE / "static" / "large.bin")

@app.get("/session")
async def session(request: Request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return {"visits": request.session["visits"]}

@app.get("/background")
async def background(tasks: BackgroundTasks):
    tasks.add_task(done.append, "background")
    return {"queued": True}

@app.get("/done")
async def everything_done():
    return done

@app.get("/teapot")
async def boil():
    raise Teapot

@app.get("/crash")
async def crash():
    raise ValueError

@app.get("/stream")
async def stream():
    async def lines():
        for number in range(3):
            yield f"{number}\\n"
    return StreamingResponse(lines())

router = APIRouter(prefix="/api")

@router.get("/users/{number}")
async def user(number: int):
    return {"user": number}

app.include_router(router)
sub = FastAPI()

@sub.get("/where")
async def where(request: Request):
    return {"root": request.scope["root_path"], "path": request.url.path}

app.mount("/sub", sub)
"""

FLASK = """
import io
from flask import (Blueprint, Flask, Response, flash, g, get_flashed_messages, jsonify, redirect,
                   render_template, request, send_file, session, stream_with_context, url_for)

app = Flask(__name__)
app.secret_key = "secret"
shop = Blueprint("shop", __name__, url_prefix="/shop")

@shop.route("/<int:number>")
def item(number):
    return {"url": url_for("shop.item", number=4),
            "absolute": url_for(".item", number=4, _external=True)}

app.register_blueprint(shop)

@app.before_request
def before():
    g.before = "before"

@app.after_request
def after(response):
    response.headers["x-after"] = g.before
    return response

@app.errorhandler(404)
def lost(error):
    return f"lost {request.path}", 404

@app.errorhandler(ZeroDivisionError)
def caught(error):
    return "caught"

@app.get("/page")
def page():
    return render_template("page.html", n=request.args["n"])

@app.get("/divide")
def divide():
    return 1 / 0

@app.get("/crash")
def crash():
    raise ValueError

@app.get("/flash")
def flashing():
    flash("saved")
    session["n"] = 1
    return redirect(url_for("shown"))

@app.get("/shown")
def shown():
    return jsonify(flashes=get_flashed_messages(), n=session["n"])

@app.post("/upload")
def upload():
    request.files["f"].save("/tmp/upload")
    return send_file("/tmp/upload", as_attachment=True, download_name=request.files["f"].filename)

@app.get("/bytes")
def some_bytes():
    return send_file(io.BytesIO(b"x" * 500_000), mimetype="application/octet-stream")

@app.get("/stream")
def stream():
    @stream_with_context
    def lines():
        for number in range(2):
            yield f"{request.path} {number}\\n"
    return Response(lines(), mimetype="text/plain")

@app.post("/json")
def echo():
    return jsonify(request.get_json())
"""

BOTTLE = """# text
from bottle import Bottle, request, static_file, template

app = Bottle()

@app.route("/hi/<name>")
def hi(name):
    return template("<b>{{name}}</b>", name=name)

@app.post("/form")
def form():
    return {"a": request.forms.getunicode("a")}

@app.get("/stream")
def stream():
    yield "a"
    yield "b"

@app.get("/file")
def file():
    answer = static_file("main.py", root="/app")
    return answer.body.read(6)
"""

DJANGO = """
import os
import django
from django.conf import settings

HERE = os.path.dirname(__file__)
settings.configure(
    SECRET_KEY="secret", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/tmp/a.sqlite3"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [os.path.join(HERE, "templates")]}],
)
django.setup()

from django.core.KIND import get_KIND_application
from django.db import connection, models
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt

class Row(models.Model):
    text = models.CharField(max_length=9)
    class Meta:
        app_label = "main"

def page(request):
    return render(request, "page.html", {"name": request.GET["name"]})

def item(request, number):
    return JsonResponse({"url": request.build_absolute_uri(),
                         "next": reverse("item", args=[number + 1])})

def rows(request):
    with connection.schema_editor() as editor:
        editor.create_model(Row)
    Row.objects.create(text="a")
    return JsonResponse({"rows": Row.objects.count()})

@csrf_exempt
def upload(request):
    return JsonResponse({"size": request.FILES["f"].size})

def form(request):
    return HttpResponse("never")

def stream(request):
    return StreamingHttpResponse(iter("ab"))

def crash(request):
    raise ValueError

urlpatterns = [
    path("", page), path("item/<int:number>/", item, name="item"), path("rows", rows),
    path("upload", upload), path("form", form), path("stream", stream), path("crash", crash),
]
application = get_KIND_application()
"""

PYODIDE = """
from urllib.parse import urlparse
import asgi
from js import JSON, Headers, Object, Response, console
from pyodide.ffi import to_js as convert
from fastapi import FastAPI, Request
from workers import WorkerEntrypoint

def to_js(value):
    return convert(value, dict_converter=Object.fromEntries)

app = FastAPI()

@app.get("/asgi")
async def where(request: Request):
    return {"env": request.scope["env"].get("NAME", "none"), "mode": "cors"}

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        path = urlparse(request.url).path
        console.log("path", path)
        if path == "/json":
            init = to_js({"headers": {"content-type": "application/json"}, "status": 201})
            return Response.new(JSON.stringify({"a": 1}), init)
        if path == "/bytes":
            return Response.new(convert(b"\\x89PNG").buffer, headers={"content-type": "image/png"})
        if path == "/headers":
            return Response.new("", headers=Headers.new({"x-a": "1"}.items()))
        if path == "/asgi":
            return await asgi.fetch(app, request.js_object, self.env)
        return Response.new((await request.text()).upper())
"""

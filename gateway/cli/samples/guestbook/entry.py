"""A Flask application: a template and a form."""

from flask import Flask, render_template, request

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def sign():
    """Show the page; thank whoever signed."""
    name = request.form.get("name", "")
    if name:
        print("signed by", name)
    return render_template("page.html", name=name)

"""A drawing of rectangles, lines and words, written as SVG with nothing but Python, or as PNG with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from mbinfer.errors import Error

INK, GREY, FAINT = "#2b2b2b", "#6b6b6b", "#e4e4e4"
_FONT = "Helvetica, Arial, sans-serif"
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def _put(axes: Any, kind: str, s: dict[str, Any], order: int) -> None:
    """A shape of a canvas as matplotlib's, above those of lower order."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Rectangle

    if kind == "rect":
        edge = s["fill"] if s["hatch"] else s["stroke"] or "none"
        axes.add_patch(
            Rectangle(
                (s["x"], s["y"]),
                s["width"],
                s["height"],
                alpha=s["opacity"],
                zorder=order,
                facecolor="none" if s["hatch"] else s["fill"],
                edgecolor=edge,
                linewidth=0 if s["hatch"] else 0.4,
                hatch="////" if s["hatch"] else None,
            )
        )
    elif kind == "line":
        axes.add_line(
            Line2D(
                *zip(*s["points"]),
                color=s["color"],
                linewidth=0.72 * s["width"],
                zorder=order,
                dashes=(6, 4) if s["dashed"] else (None, None),
            )
        )
    elif kind == "dot":
        axes.add_patch(
            Circle(
                (s["x"], s["y"]),
                s["radius"],
                facecolor=s["fill"],
                edgecolor=s["stroke"] or "none",
                zorder=order,
            )
        )
    else:
        axes.text(
            s["x"],
            s["y"],
            s["words"].replace("$", r"\$"),
            fontsize=0.72 * s["size"],
            color=s["color"],
            ha=_ANCHORS[s["anchor"]],
            va="baseline",
            rotation=s["angle"],
            rotation_mode="anchor",
            zorder=order,
        )


class Canvas:
    """Shapes in pixels, y downwards, each over those before it."""

    def __init__(self, width: float, height: float, title: str):
        self.width, self.height, self.title = width, height, title
        self.shapes: list[tuple[str, dict[str, Any]]] = []

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        stroke: str | None = None,
        opacity: float = 1.0,
        hatch: bool = False,
        hint: str = "",
    ) -> None:
        """A rectangle; hatched, its fill is the colour of the lines. A hint is shown under the pointer, in SVG only."""
        self.shapes.append(
            (
                "rect",
                {
                    "x": x,
                    "y": y,
                    "width": width,
                    "height": height,
                    "fill": fill,
                    "stroke": stroke,
                    "opacity": opacity,
                    "hatch": hatch,
                    "hint": hint,
                },
            )
        )

    def line(
        self,
        points: Sequence[tuple[float, float]],
        color: str = INK,
        width: float = 1.0,
        dashed: bool = False,
        arrow: bool = False,
    ) -> None:
        """A line through points, with a head at its end if it is an arrow."""
        self.shapes.append(("line", {"points": list(points), "color": color, "width": width, "dashed": dashed}))
        if arrow:
            (x0, y0), (x1, y1) = points[-2:]
            length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
            dx, dy = 7 * (x1 - x0) / length, 7 * (y1 - y0) / length
            head = [(x1 - dx - dy / 2, y1 - dy + dx / 2), (x1, y1), (x1 - dx + dy / 2, y1 - dy - dx / 2)]
            self.shapes.append(("line", {"points": head, "color": color, "width": width, "dashed": False}))

    def dot(self, x: float, y: float, radius: float, fill: str, stroke: str | None = None, hint: str = "") -> None:
        self.shapes.append(("dot", {"x": x, "y": y, "radius": radius, "fill": fill, "stroke": stroke, "hint": hint}))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 11,
        color: str = INK,
        anchor: str = "start",
        angle: float = 0,
    ) -> None:
        """Words on a baseline at y; anchor: start, middle or end; angle: degrees against the clock."""
        self.shapes.append(
            ("text", {"x": x, "y": y, "words": words, "size": size, "color": color, "anchor": anchor, "angle": angle})
        )

    def save_svg(self, path: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg())

    def svg(self) -> str:
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {self.width:.0f} {self.height:.0f}' "
            f"width='{self.width:.0f}' height='{self.height:.0f}' font-family='{_FONT}'>",
            f"<title>{escape(self.title)}</title>",
            "<rect width='100%' height='100%' fill='white'/>",
        ]
        hatches: dict[str, str] = {}
        for _, shape in self.shapes:
            if shape.get("hatch"):
                hatches.setdefault(shape["fill"], f"hatch{len(hatches)}")
        for color, name in hatches.items():
            parts.append(
                f"<pattern id='{name}' width='6' height='6' patternUnits='userSpaceOnUse'"
                " patternTransform='rotate(45)'>"
                f"<path d='M0 0V6' stroke='{color}' stroke-width='2.4'/></pattern>"
            )
        for kind, shape in self.shapes:
            parts.append(getattr(self, f"_svg_{kind}")(hatches=hatches, **shape))
        return "\n".join([*parts, "</svg>\n"])

    def _svg_rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        stroke: str | None,
        opacity: float,
        hatch: bool,
        hint: str,
        hatches: dict[str, str],
    ) -> str:
        paint = f"fill='{f'url(#{hatches[fill]})' if hatch else fill}'"
        paint += f" fill-opacity='{opacity:g}'" if opacity < 1 else ""
        paint += f" stroke='{stroke}' stroke-width='.5'" if stroke else ""
        return _hinted("rect", f"x='{x:.2f}' y='{y:.2f}' width='{width:.2f}' height='{height:.2f}' {paint}", hint)

    def _svg_line(
        self, points: list[tuple[float, float]], color: str, width: float, dashed: bool, hatches: dict[str, str]
    ) -> str:
        path = "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
        dashes = " stroke-dasharray='6 4'" if dashed else ""
        return f"<path d='M{path}' fill='none' stroke='{color}' stroke-width='{width:g}'{dashes}/>"

    def _svg_dot(
        self, x: float, y: float, radius: float, fill: str, stroke: str | None, hint: str, hatches: dict[str, str]
    ) -> str:
        paint = f"fill='{fill}'" + (f" stroke='{stroke}'" if stroke else "")
        return _hinted("circle", f"cx='{x:.2f}' cy='{y:.2f}' r='{radius:g}' {paint}", hint)

    def _svg_text(
        self,
        x: float,
        y: float,
        words: str,
        size: float,
        color: str,
        anchor: str,
        angle: float,
        hatches: dict[str, str],
    ) -> str:
        turn = f" transform='rotate({-angle:g} {x:.1f} {y:.1f})'" if angle else ""
        place = f"x='{x:.1f}' y='{y:.1f}' font-size='{size:g}' fill='{color}' text-anchor='{anchor}'{turn}"
        return f"<text {place} pointer-events='none'>{escape(words)}</text>"

    def save_png(self, path: str) -> None:
        """Needs matplotlib: raises `Error` without it."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            raise Error("drawing a PNG needs matplotlib: pip install 'mbinfer[plot]'; an SVG needs nothing") from None
        # A hundred pixels of the drawing to the inch, so that a point is 72 / 100 of a pixel; printed at twice that.
        figure = Figure(figsize=(self.width / 100, self.height / 100))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.axis("off")
        for order, (kind, s) in enumerate(self.shapes):
            _put(axes, kind, s, order)
        figure.savefig(path, dpi=200, facecolor="white")


def _hinted(tag: str, attributes: str, hint: str) -> str:
    return f"<{tag} {attributes}><title>{escape(hint)}</title></{tag}>" if hint else f"<{tag} {attributes}/>"

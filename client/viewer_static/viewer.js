// A slide: deep zoom, the heat map over it, and the weight of a patch. Asks this server only.
"use strict";

(() => {
  const element = (id) => document.getElementById(id);
  const picture = element("picture");
  const facts = picture.dataset;
  const width = Number(facts.width);
  const mapWidth = Number(facts.mapWidth);
  const patches = Number(facts.patches);
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  // OpenSeadragon would write a style sheet here, which the page's policy forbids; it looks for one first.
  const none = document.createElementNS("urn:none", "style");
  none.setAttribute("data-openseadragon-mobile-css", "true");
  document.head.append(none);

  const viewer = OpenSeadragon({
    element: picture,
    drawer: "canvas",
    showNavigationControl: false,
    showNavigator: true,
    navigatorPosition: "BOTTOM_RIGHT",
    navigatorBackground: "#ffffff",
    navigatorOpacity: 1,
    animationTime: calm ? 0 : 0.6,
    maxZoomPixelRatio: 4,
    visibilityRatio: 0.4,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    tileSources: {
      Image: {
        xmlns: "http://schemas.microsoft.com/deepzoom/2008",
        Url: `${facts.slide}/tiles/`,
        Format: "jpeg",
        Overlap: facts.overlap,
        TileSize: facts.tile,
        Size: { Width: facts.width, Height: facts.height },
      },
    },
  });

  viewer.canvas.setAttribute("role", "application");
  viewer.canvas.setAttribute("aria-label", "The slide");
  viewer.canvas.setAttribute("aria-describedby", "keys");
  if (viewer.navigator) viewer.navigator.element.setAttribute("aria-hidden", "true");

  viewer.addHandler("open-failed", () => tell("The slide could not be opened."));
  viewer.addHandler("tile-load-failed", async (event) => {
    try {
      const answer = await fetch(event.tile.getUrl());
      const said = answer.status === 422 ? (await answer.text()).trim() : "";
      tell(said ? `Parts of this slide are not shown: ${said}.` : "Parts of this slide are not shown.");
    } catch {
      tell("The viewer does not answer: was it stopped?");
    }
  });

  function tell(text) {
    element("trouble").textContent = text;
    element("trouble").hidden = false;
  }

  // ---- zoom
  const zoomBy = (factor) => {
    viewer.viewport.zoomBy(factor);
    viewer.viewport.applyConstraints();
  };
  element("zoom-in").addEventListener("click", () => zoomBy(1.6));
  element("zoom-out").addEventListener("click", () => zoomBy(1 / 1.6));
  element("whole").addEventListener("click", () => viewer.viewport.goHome());
  viewer.addHandler("canvas-key", (event) => {
    const key = event.originalEvent.key;
    if (["r", "R", "f", "F"].includes(key)) event.preventDefaultAction = true; // never turned or mirrored
    if (key === "Enter" && mapWidth) {
      event.preventDefaultAction = true;
      readAt(viewer.viewport.getCenter());
    }
  });

  // ---- scale
  const mpp = Number(facts.mpp);
  if (mpp) {
    const scale = document.createElement("div");
    const bar = document.createElement("span");
    const said = document.createTextNode("");
    scale.className = "scale";
    scale.append(said, bar);
    picture.append(scale);
    const draw = () => {
      const perPixel = (mpp * width) / (viewer.viewport.getZoom(true) * picture.clientWidth); // microns
      const most = 140 * perPixel;
      const power = 10 ** Math.floor(Math.log10(most));
      const length = [5, 2, 1].map((one) => one * power).find((one) => one <= most);
      said.textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
      bar.style.width = `${length / perPixel}px`;
    };
    viewer.addHandler("open", draw);
    viewer.addHandler("update-viewport", draw);
  }

  // ---- heat map
  if (!mapWidth) return;
  const shown = element("map-shown");
  const opacity = element("opacity");
  const printed = element("map-printed");
  let map = null;
  let hidden = false; // while it is printed

  const share = () => (shown.checked && !hidden ? Number(opacity.value) / 100 : 0);
  function drawMap() {
    element("opacity-said").textContent = `${opacity.value}%`;
    document.body.classList.toggle("with-map", shown.checked && printed.checked);
    if (map) map.setOpacity(share());
  }
  viewer.addHandler("open", () => {
    viewer.addSimpleImage({
      url: `${facts.slide}/map.png`,
      x: 0,
      y: 0,
      width: mapWidth / width,
      opacity: share(),
      success: (event) => {
        map = event.item;
        drawMap();
      },
      error: () => tell("The heat map could not be loaded."),
    });
  });
  shown.addEventListener("change", drawMap);
  printed.addEventListener("change", drawMap);
  opacity.addEventListener("input", () => {
    shown.checked = true;
    drawMap();
  });
  const hide = (now) => {
    hidden = now;
    drawMap();
    viewer.world.draw(); // at once: paper waits for no frame
  };
  window.addEventListener("beforeprint", () => hide(!printed.checked));
  window.addEventListener("afterprint", () => hide(false));

  // ---- patches
  const rank = element("rank");
  const status = element("patch");
  const square = document.createElement("div");
  square.className = "chosen";
  square.setAttribute("aria-hidden", "true");
  let asked = 0;

  viewer.addHandler("canvas-click", (event) => {
    if (event.quick) readAt(viewer.viewport.pointFromPixel(event.position));
  });
  element("rank-go").addEventListener("click", () => readRank(Number(rank.value)));
  element("rank-higher").addEventListener("click", () => readRank(Number(rank.value) - 1));
  element("rank-lower").addEventListener("click", () => readRank(Number(rank.value) + 1));
  rank.addEventListener("keydown", (event) => {
    if (event.key === "Enter") readRank(Number(rank.value));
  });

  async function readAt(point) {
    await read(`patch?x=${point.x * width}&y=${point.y * width}`, false);
  }

  async function readRank(wanted) {
    const whole = Math.min(Math.max(Math.round(wanted) || 1, 1), patches);
    await read(`patches/${whole}`, true);
  }

  async function read(question, moves) {
    const number = ++asked;
    try {
      const answer = await fetch(`${facts.slide}/${question}`);
      const found = answer.ok ? await answer.json() : null;
      if (number !== asked) return; // a later click was faster
      if (!answer.ok) tell("The weights of patches could not be read; load the page again.");
      else show(found, moves);
    } catch {
      tell("The viewer does not answer: was it stopped?");
    }
  }

  function show(patch, moves) {
    viewer.removeOverlay(square);
    if (!patch) {
      status.textContent = "No patch here: the model did not see this place.";
      return;
    }
    const percent = (part) => `${(100 * part).toPrecision(3)}%`;
    const even = percent(1 / patch.of);
    status.textContent =
      `Rank ${patch.rank} of ${patch.of}: weight ${percent(patch.weight)} ` +
      `(all alike would have ${even} each)`;
    rank.value = patch.rank;
    const place = new OpenSeadragon.Rect(
      patch.x / width, patch.y / width, patch.side / width, patch.side / width
    );
    viewer.addOverlay({ element: square, location: place });
    if (!moves) return;
    const around = new OpenSeadragon.Rect(
      place.x - 1.5 * place.width, place.y - 1.5 * place.height, 4 * place.width, 4 * place.height
    );
    viewer.viewport.fitBounds(around);
  }
})();

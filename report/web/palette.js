// A colour for each class, [red, green, blue].

// Okabe and Ito's colours but black, which no dark page could show, and three more. Among all pairs
// the smallest distance in Oklab is 0.07 under any of the three dichromacies.
const ten = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442", "#7e2954",
             "#6b5b3e", "#b3b3b3"];

export function palette(classes) {
  if (classes <= ten.length) {
    return ten.slice(0, classes).map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  }
  // Hues in turns of the golden angle, so that neighbours differ, in three steps of lightness.
  return Array.from({length: classes}, (_, i) =>
    oklch([0.62, 0.76, 0.48][i % 3], [0.14, 0.12, 0.12][i % 3], (i * 137.508 + 250) % 360));
}

export const css = ([r, g, b]) => `rgb(${r},${g},${b})`;
export const mixed = (a, b, share) => a.map((value, i) => Math.round(value + (b[i] - value) * share));

// Oklab (Ottosson 2020) by lightness, chroma and hue in degrees, to sRGB.
function oklch(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
          -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
          -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s].map((linear) => {
    const value = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
    return Math.round(255 * Math.min(1, Math.max(0, value)));
  });
}

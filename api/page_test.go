package api_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// What is written on the page can be read: WCAG 2's contrast for small text,
// in the light and in the dark form.
func TestPageHasContrast(t *testing.T) {
	css, err := os.ReadFile("page/app.css")
	if err != nil {
		t.Fatal(err)
	}
	forms := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllSubmatch(css, -1)
	if len(forms) != 2 {
		t.Fatalf("%d forms of the page's colours, want light and dark", len(forms))
	}
	pairs := [][2]string{
		{"text", "ground"}, {"text", "card"}, {"soft", "ground"}, {"soft", "card"}, {"soft", "hover"},
		{"accent", "ground"}, {"accent", "card"}, {"accent", "hover"}, {"card", "accent"}, {"bad", "card"}, {"warn", "card"}, {"warn", "hover"},
	}
	for _, tone := range []string{"good", "bad", "warn", "busy", "idle"} {
		pairs = append(pairs, [2]string{tone, tone + "-wash"}, [2]string{"card", tone})
	}
	for i, form := range forms {
		colours := map[string]string{}
		for _, m := range regexp.MustCompile(`--([\w-]+): #(\w+)`).FindAllSubmatch(form[1], -1) {
			colours[string(m[1])] = string(m[2])
		}
		for _, p := range pairs {
			if got := contrast(t, colours[p[0]], colours[p[1]]); got < 4.5 {
				t.Errorf("form %d: %s on %s has a contrast of %.2f, want 4.5", i, p[0], p[1], got)
			}
		}
	}
}

// contrast is that of WCAG 2.2, 1.4.3.
func contrast(t *testing.T, a, b string) float64 {
	light, dark := luminance(t, a), luminance(t, b)
	if light < dark {
		light, dark = dark, light
	}
	return (light + 0.05) / (dark + 0.05)
}

func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	if len(colour) == 3 {
		colour = string([]byte{colour[0], colour[0], colour[1], colour[1], colour[2], colour[2]})
	}
	rgb, err := strconv.ParseUint(colour, 16, 32)
	if err != nil || len(colour) != 6 {
		t.Fatalf("%q is no colour", colour)
	}
	part := func(shift int) float64 {
		c := float64(rgb>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}

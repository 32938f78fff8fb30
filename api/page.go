package api

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"time"

	"github.com/go-chi/chi/v5"
)

//go:embed page
var pageFiles embed.FS

// page serves the web page: static files without any asset from elsewhere,
// which ask the API for everything they show.
func (s *Server) page(r chi.Router) {
	r.Get("/", func(w http.ResponseWriter, r *http.Request) { s.pageFile(w, r, "index.html") })
	r.Get("/page/{file}", func(w http.ResponseWriter, r *http.Request) { s.pageFile(w, r, chi.URLParam(r, "file")) })
}

func (s *Server) pageFile(w http.ResponseWriter, r *http.Request, name string) {
	data, err := pageFiles.ReadFile(path.Join("page", path.Base(name)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(data)
	h := w.Header()
	h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	h.Set("Cache-Control", "no-cache") // asked for again by its sum
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}

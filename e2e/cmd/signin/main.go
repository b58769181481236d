// signin is a sign-in service with the endpoints of oauth2-proxy: /oauth2/auth authorizes a request by its session cookie, and
// /oauth2/start creates a session and redirects back. Every session is valid, and its value is the name of the user.
package main

import (
	"log"
	"net/http"
	"time"
)

const session = "_oauth2_proxy"

func main() {
	http.HandleFunc("/oauth2/auth", authorize)
	http.HandleFunc("/oauth2/start", start)
	server := &http.Server{Addr: ":3000", ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// authorize responds with 202 and headers that describe the user, or with 401 if there is no session.
func authorize(w http.ResponseWriter, r *http.Request) {
	cookie, err := r.Cookie(session)
	if err != nil || cookie.Value == "" {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-Auth-Request-User", cookie.Value)
	w.Header().Set("X-Auth-Request-Email", cookie.Value+"@example.com")
	// For the headers that the proxy adds to its requests.
	w.Header().Set("X-Auth-Request-Groups", r.Header.Get("X-Groups"))
	w.WriteHeader(http.StatusAccepted)
}

// start signs in a user without a dialog.
func start(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: session, Value: "ada", Path: "/", Secure: true, HttpOnly: true})
	http.Redirect(w, r, r.URL.Query().Get("rd"), http.StatusFound)
}

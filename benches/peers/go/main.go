// The same endpoint on Go's net/http and LiveKit's own auth package.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/livekit/protocol/auth"
)

type tokenRequest struct {
	RoomName            string `json:"roomName"`
	ParticipantIdentity string `json:"participantIdentity"`
	ParticipantName     string `json:"participantName"`
	Role                string `json:"role"`
	ExpirationSeconds   int64  `json:"expirationSeconds"`
}

type tokenAnswer struct {
	Provider            string `json:"provider"`
	Token               string `json:"token"`
	ExpiresAt           string `json:"expiresAt"`
	RefreshAt           string `json:"refreshAt"`
	RoomName            string `json:"roomName"`
	ParticipantIdentity string `json:"participantIdentity"`
	ServerURL           string `json:"serverUrl"`
}

const rfc3339Millis = "2006-01-02T15:04:05.000Z"

var (
	serverURL = os.Getenv("LIVEKIT_URL")
	apiKey    = os.Getenv("LIVEKIT_API_KEY")
	apiSecret = os.Getenv("LIVEKIT_API_SECRET")
)

func issue(w http.ResponseWriter, r *http.Request) {
	var wanted tokenRequest
	if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil || wanted.RoomName == "" || wanted.ParticipantIdentity == "" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	lifetime := time.Duration(wanted.ExpirationSeconds) * time.Second
	grant := &auth.VideoGrant{RoomJoin: true, Room: wanted.RoomName}
	grant.SetCanSubscribe(true)
	grant.SetCanPublishData(false)
	grant.SetCanPublish(wanted.Role == "speaker")
	if wanted.Role == "speaker" {
		grant.CanPublishSources = []string{"microphone"}
	}
	token, err := auth.NewAccessToken(apiKey, apiSecret).
		SetIdentity(wanted.ParticipantIdentity).
		SetName(wanted.ParticipantName).
		SetValidFor(lifetime).
		SetVideoGrant(grant).
		ToJWT()
	if err != nil {
		http.Error(w, "internal", http.StatusInternalServerError)
		return
	}
	expiresAt := time.Now().UTC().Truncate(time.Second).Add(lifetime)
	answer, err := json.Marshal(tokenAnswer{
		Provider:            "livekit",
		Token:               token,
		ExpiresAt:           expiresAt.Format(rfc3339Millis),
		RefreshAt:           expiresAt.Add(-10 * time.Second).Format(rfc3339Millis),
		RoomName:            wanted.RoomName,
		ParticipantIdentity: wanted.ParticipantIdentity,
		ServerURL:           serverURL,
	})
	if err != nil {
		http.Error(w, "internal", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer)
}

func main() {
	http.HandleFunc("POST /api/token", issue)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

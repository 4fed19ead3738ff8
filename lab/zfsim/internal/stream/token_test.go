package stream

import "testing"

// realToken was printed by OpenZFS 2.3.2.
const realToken = "1-a4f9cea9a-d8-789c636064000310a501c49c50360710a715e5e7a69766a63040816bacfa95d829b76c14806c762475f94959a9c9250c0cac507518f26969c5a925209936b83c1b927c5265496a31889ddc81557f493ec415bf38e2fc79850f4e4396e704cbe725e6a6323024ea9739141b1a80cd0000507e1b21"

func TestTokenOfOpenZFS(t *testing.T) {
	got, err := ParseToken(realToken)
	if err != nil {
		t.Fatal(err)
	}
	want := Token{Object: 5, Offset: 0x860000, Bytes: 0x886308, ToGUID: 0x96c1130d4f5e08fa, FromGUID: 0x3cda945dd4275d45, ToName: "a/v@s10"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	plain := want.nvlist().encode()
	if len(plain) != 0xd8 {
		t.Errorf("packed nvlist has %#x bytes, OpenZFS made 0xd8", len(plain))
	}
	again, err := ParseToken(want.String())
	if err != nil || again != want {
		t.Errorf("own token: %+v, %v", again, err)
	}
}

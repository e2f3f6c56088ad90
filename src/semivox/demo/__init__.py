"""Generated scans and the story that `semivox demo` tells with them."""

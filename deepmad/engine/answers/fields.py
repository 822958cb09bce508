"""What a solution file's numbers and booleans are."""

from typing import Annotated

from pydantic import Field

Number = Annotated[float, Field(strict=True)]
Positive = Annotated[float, Field(strict=True, ge=0)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Flag = Annotated[bool, Field(strict=True)]
"""What a file's numbers and booleans are: no text is taken for one, nor the one for the other."""

"""What only research needs: the original experiment reproduced, and ablations. Part of no distribution."""

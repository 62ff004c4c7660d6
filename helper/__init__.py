"""What the scripts share. To import it settles how torch's threads share the cores, where torch is not loaded yet."""

from helper.machine import share_cores

share_cores()
